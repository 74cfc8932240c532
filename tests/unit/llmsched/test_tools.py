"""Declaring tools, their schemas, and the registry."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from llmsched import tools
from llmsched.tools import (
    DuplicateToolError,
    InvalidArgumentsError,
    ToolDefinitionError,
    ToolRegistry,
    UnknownToolError,
    Violation,
    spec_of,
    tool,
)


class City(TypedDict):
    name: str
    people: int


class Box(BaseModel):
    size: int


@tool(name="sample.find", timeout=5, memory_bytes=2**20, max_output_bytes=100, env=("KEY",))
def find(city: str, days: int = 1, *, unit: Literal["C", "F"] = "C") -> list[City]:
    """The weather
    of a city.

    Args:
        city: Name of the city,
            in English.
        days: How many.

    Raises:
        ValueError: never
    """
    return [{"name": f"{city}/{unit}", "people": days}]


@tool(name="sample.awkward", description="has parameters that are also methods of models")
def awkward(schema: str, copy: list[int], title: Box) -> dict[str, Any]:
    return {"schema": schema, "copy": copy, "title": title.size}


@tool(
    name="sample.explicit", description="says it all", schema={"properties": {"n": {"minimum": 3}}, "required": ["n"]}
)
def explicit(**arguments: Any) -> Any:
    return arguments


def spec(function: Any) -> tools.ToolSpec:
    found = spec_of(function)
    assert found is not None
    return found


def test_a_decorated_function_stays_a_plain_function() -> None:
    assert find("Rome") == [{"name": "Rome/C", "people": 1}]


def test_a_spec_holds_what_the_decorator_and_the_docstring_say() -> None:
    found = spec(find)
    assert found.name == "sample.find"
    assert found.description == "The weather of a city."
    assert (found.limits.timeout, found.limits.memory_bytes, found.limits.max_output_bytes) == (5, 2**20, 100)
    assert found.env == ("KEY",)
    assert found.location == f"{__name__}:find"


def test_the_schema_comes_from_hints_and_docstring() -> None:
    assert spec(find).args_schema == {
        "type": "object",
        "additionalProperties": False,
        "required": ["city"],
        "properties": {
            "city": {"type": "string", "description": "Name of the city, in English."},
            "days": {"type": "integer", "default": 1, "description": "How many."},
            "unit": {"enum": ["C", "F"], "type": "string", "default": "C"},
        },
    }
    assert spec(find).returns_schema["items"] == {"$ref": "#/$defs/City"}


def test_the_signature_is_one_short_line() -> None:
    expected = "sample.find(city: string, days?: integer, unit?: 'C'|'F') -> [{name: string, people: integer}]"
    assert spec(find).signature == expected
    assert json.loads(json.dumps(spec(find).describe()))["signature"] == expected


def test_all_violations_are_listed_with_their_paths() -> None:
    violations = spec(awkward).validate_args({"copy": [1, "x", []], "title": {"size": "big"}, "more": 1})
    assert {v.path for v in violations} == {"schema", "copy[1]", "copy[2]", "title.size", "more"}
    assert all(v.message for v in violations)


@pytest.mark.parametrize("args", [None, [], "x", 3])
def test_arguments_must_be_an_object(args: object) -> None:
    (violation,) = spec(find).validate_args(args)
    assert violation.path == ""
    assert "object" in str(violation)


def test_a_call_converts_what_fits_and_keeps_defaults() -> None:
    assert spec(find).call({"city": "Rome", "days": "3"}) == [{"name": "Rome/C", "people": 3}]
    assert spec(awkward).call({"schema": "s", "copy": [1], "title": {"size": 2}}) == {
        "schema": "s",
        "copy": [1],
        "title": 2,
    }
    with pytest.raises(InvalidArgumentsError, match="city"):
        spec(find).call({})


def test_an_explicit_schema_replaces_the_derived_one() -> None:
    assert spec(explicit).args_schema["type"] == "object"
    assert spec(explicit).validate_args({"n": 1}) == (Violation(path="n", message="1 is less than the minimum of 3"),)
    assert spec(explicit).call({"n": 4, "other": "x"}) == {"n": 4, "other": "x"}


def test_what_cannot_be_served_is_refused_where_it_is_declared() -> None:
    async def coroutine() -> None: ...

    def unhinted(a) -> None: ...  # type: ignore[no-untyped-def]

    def variadic(*a: int) -> None: ...

    def unknown(a: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    def raw(a: memoryview) -> None: ...

    for function in (coroutine, unhinted, variadic, unknown, raw):
        with pytest.raises(ToolDefinitionError, match=r"sample\.bad"):
            tool(name="sample.bad", description="d")(function)


@pytest.mark.parametrize("name", ["nodot", "Upper.case", "a.", "a.b c", ""])
def test_a_name_has_an_area_and_a_verb(name: str) -> None:
    with pytest.raises(ToolDefinitionError, match="no tool name"):
        tool(name=name, description="d")


def test_limits_must_be_positive_and_schemas_valid() -> None:
    with pytest.raises(ToolDefinitionError, match="timeout"):
        tool(name="a.b", timeout=0)
    with pytest.raises(ToolDefinitionError, match="no JSON schema"):
        tool(name="a.b", description="d", schema={"type": "nonsense"})(lambda: None)
    with pytest.raises(ToolDefinitionError, match="description"):
        tool(name="a.b")(lambda: None)


def test_a_registry_gives_tools_by_name_and_suggests_near_ones() -> None:
    registry = ToolRegistry([find, awkward, find])
    assert registry.names() == ("sample.awkward", "sample.find")
    assert registry.get("sample.find") is spec(find)
    assert "sample.find" in registry
    assert len(registry) == 2
    with pytest.raises(UnknownToolError, match=r"did you mean sample\.find"):
        registry.get("sample.fnd")
    with pytest.raises(UnknownToolError, match=r"known are: sample\.awkward, sample\.find"):
        registry.get("qqq")


def test_a_name_used_twice_is_an_error_with_both_places() -> None:
    @tool(name="sample.find", description="another")
    def other() -> None: ...

    with pytest.raises(DuplicateToolError) as caught:
        ToolRegistry([find, other])
    assert f"{__name__}:find" in str(caught.value)
    assert "<locals>.other" in str(caught.value)


def test_only_decorated_functions_are_registered() -> None:
    with pytest.raises(ToolDefinitionError, match="decorator"):
        ToolRegistry([len])


def test_missing_variables_are_named_per_tool() -> None:
    registry = ToolRegistry([find, awkward])
    assert registry.missing_env({}) == {"sample.find": ("KEY",)}
    assert registry.missing_env({"KEY": "secret"}) == {}


@dataclass
class Package:
    """A package in a temporary folder, and the entry points that name its modules."""

    folder: Path
    points: list[EntryPoint]

    def add(self, module: str, source: str, *, entry: bool = False) -> None:
        (self.folder / f"{module}.py").write_text(source)
        if entry:
            name = f"fake_tools.{module}".removesuffix(".__init__")
            self.points.append(EntryPoint(module, name, tools.ENTRY_POINT_GROUP))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    folder = tmp_path / "fake_tools"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    package = Package(folder, [])
    monkeypatch.setattr(tools, "entry_points", lambda group: EntryPoints(package.points).select(group=group))
    yield package
    for name in [name for name in sys.modules if name.startswith("fake_tools")]:
        del sys.modules[name]


TOOL = "from llmsched.tools import tool\n@tool(name='{0}', description='d')\ndef function() -> None: ...\n"


def test_entry_points_bring_the_tools_of_a_module_and_of_those_it_imports(package: Package) -> None:
    package.add("deep", TOOL.format("deep.tool"))
    package.add("inner", "from fake_tools import deep\nimport json\n" + TOOL.format("inner.tool"))
    package.add("outer", "from fake_tools import inner\n" + TOOL.format("outer.tool"), entry=True)
    assert ToolRegistry.from_entry_points().names() == ("deep.tool", "inner.tool", "outer.tool")


def test_two_packages_with_one_name_are_refused(package: Package) -> None:
    package.add("one", TOOL.format("same.name"), entry=True)
    package.add("two", TOOL.format("same.name"), entry=True)
    with pytest.raises(DuplicateToolError, match=r"fake_tools\.one:function and fake_tools\.two:function"):
        ToolRegistry.from_entry_points()


def test_a_missing_optional_package_costs_only_its_own_tools(package: Package) -> None:
    package.add("fine", TOOL.format("fine.tool"), entry=True)
    package.add("needy", "import no_such_package_anywhere\n", entry=True)
    registry = ToolRegistry.from_entry_points()
    assert registry.names() == ("fine.tool",)
    assert "no_such_package_anywhere" in registry.unavailable["needy"]


def test_a_broken_module_is_an_error_with_its_name(package: Package) -> None:
    package.add("broken", "from json import nothing_of_that_name\n", entry=True)
    with pytest.raises(ToolDefinitionError, match=r"broken = fake_tools\.broken"):
        ToolRegistry.from_entry_points()


def test_the_tools_of_this_distribution_are_found() -> None:
    registry = ToolRegistry.from_entry_points()
    assert not registry.unavailable
    assert {"python.run_tests", "sorting.split", "code.choose", "math.evaluate"} <= set(registry.names())


def test_modules_without_a_package_are_registered_alone() -> None:
    module = ModuleType("lonely")
    module.find = find  # type: ignore[attr-defined]
    module.json = json  # type: ignore[attr-defined]
    registry = ToolRegistry()
    registry.register_module(module)
    assert registry.names() == ("sample.find",)
