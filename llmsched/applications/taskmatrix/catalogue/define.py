"""How a function enters the catalogue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar

from llmsched.tools import ToolRegistry, tool

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Example:
    """A call and its result."""

    args: dict[str, Any]
    gives: Any


#: By name of the function.
EXAMPLES: dict[str, Example] = {}


def listed(*, gives: Any, **args: Any) -> Callable[[_Function], _Function]:
    """Put a function into the catalogue, named after its module, with an example of a call.

    The description is the docstring, and the schema of the arguments comes from the type hints.
    """

    def declare(function: _Function) -> _Function:
        area = function.__module__.rsplit(".", 1)[-1]
        name = f"{area}.{function.__name__}"
        EXAMPLES[name] = Example(args, gives)
        return tool(name=name)(function)

    return declare


def functions_of(*modules: ModuleType) -> ToolRegistry:
    """The functions of modules as one registry."""
    registry = ToolRegistry()
    for module in modules:
        registry.register_module(module)
    return registry
