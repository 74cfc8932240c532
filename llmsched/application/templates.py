"""The template language: Jinja2, cut down to what is safe and deterministic.

A template may write values, use `if`, `for` and `set`, and the filters, tests and methods named here. It sees JSON
values (see `values`) and nothing of Python: attributes are looked up in a fixed list, never on objects. What it may
spend is metered: loop iterations, elements given to filters, characters joined.

A text that is one expression and nothing else, `"{{ … }}"`, keeps the type of its value.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from types import TracebackType
from typing import Any, cast

import jinja2
from jinja2 import meta, nodes
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import SandboxedEnvironment
from jinja2.visitor import NodeTransformer

from llmsched.application.template_filters import FILTERS, METER, Meter, charge, charge_parts, join, replace
from llmsched.application.values import MAX_INTEGER, Fields, LlmText, Nothing, text

__all__ = ["BAD_TEMPLATE", "RUNTIME_ERRORS", "TEXT_METHODS", "Reference", "Template", "line_of"]

#: What making a Template may raise, and what rendering one may raise. Whatever a template does wrong is one of these.
BAD_TEMPLATE = (jinja2.TemplateSyntaxError, RecursionError, MemoryError, SyntaxError)
RUNTIME_ERRORS = (
    jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError
)  # fmt: skip

# Filters that no template can spell.
_STEPS, _CHARGED, _LITERAL, _CONCAT = "$steps", "$charged", "$literal", "$concat"

_MAX_LINE = 200
_words = str.split
_TESTS = _words(
    "== != < <= > >= boolean defined divisibleby eq equalto even false float ge greaterthan gt in integer iterable le "
    "lessthan lower lt mapping ne none number odd sequence string true undefined upper"
)
TEXT_METHODS = _words(
    "capitalize casefold count endswith find index isalnum isalpha isdecimal isdigit islower isnumeric isspace istitle "
    "isupper lower lstrip partition removeprefix removesuffix rfind rindex rpartition rsplit rstrip split splitlines "
    "startswith strip swapcase title upper"
)
_MAPPING_METHODS = _words("get items keys values")
_LOOP_ATTRIBUTES = _words("changed cycle first index index0 last length nextitem previtem revindex revindex0")
_NODES: tuple[type[nodes.Node], ...] = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.For, nodes.Assign,
    nodes.Name, nodes.Const, nodes.Tuple, nodes.List, nodes.Dict, nodes.Pair, nodes.Keyword, nodes.CondExpr,
    nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Call, nodes.Filter, nodes.Test,
    nodes.Concat, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Pos,
    nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod,
)  # fmt: skip


class _Environment(SandboxedEnvironment):
    """Looks attributes up in fixed lists, so that no object of Python can be reached."""

    intercepted_binops = frozenset({"+", "*", "%"})

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`obj.attribute`: a key of an object, else one of the names allowed for the type."""
        if isinstance(obj, jinja2.Undefined):
            return getattr(obj, attribute)  # raises unless it is Nothing
        if isinstance(obj, Mapping):
            if attribute in obj:
                return obj[attribute]
            allowed = _MAPPING_METHODS
        elif isinstance(obj, str):
            return self._of_text(obj, attribute)
        else:
            allowed = _LOOP_ATTRIBUTES if isinstance(obj, LoopContext) else []
        return getattr(obj, attribute) if attribute in allowed else self._missing(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """`obj[argument]`: a key, a place or a slice."""
        if isinstance(obj, jinja2.Undefined):
            return obj[argument]  # raises unless it is Nothing
        if isinstance(argument, str) and not isinstance(obj, Mapping):
            return self.getattr(obj, argument)
        try:
            return obj[argument]
        except (LookupError, TypeError):
            return self._missing(obj, argument)

    def _of_text(self, obj: str, attribute: str) -> Any:
        if isinstance(obj, LlmText):
            if attribute == "text":
                return str(obj)
            if attribute == "finish_reason":
                return obj.finish_reason
            if attribute == "json" and obj.schema is not None:
                return obj.json
        if attribute in TEXT_METHODS:
            return getattr(str(obj), attribute)
        if attribute in ("join", "replace"):
            # Their results can be far larger than what they are made from.
            return partial(join, d=str(obj)) if attribute == "join" else partial(replace, str(obj))
        return self._missing(obj, attribute)

    def _missing(self, obj: Any, name: object) -> jinja2.Undefined:
        if isinstance(obj, Fields) and name in obj.optional:
            return Nothing(name=str(name))
        if isinstance(obj, LlmText):
            hint = "its stage has no json_schema" if name == "json" else "it has text, json and finish_reason"
            return self.undefined(f"the answer of {obj.stage!r} has no {name!r}: {hint}")
        if isinstance(obj, Mapping):
            known = ", ".join(map(repr, itertools.islice(obj, 20)))
            return self.undefined(f"there is no {name!r} " + (f"among {known}" if known else "in an empty object"))
        return self.undefined(f"{_type(obj)} has no {name!r}")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """`+`, `*` and `%`: whole numbers stay in range, and only numbers can be multiplied."""
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        # Undefined values raise errors of their own, which say more.
        undefined = isinstance(left, jinja2.Undefined) or isinstance(right, jinja2.Undefined)
        if operator != "+" and not numbers and not undefined:
            raise TypeError(f"{_type(left)} {operator} {_type(right)}: works on numbers only")
        result = super().call_binop(context, operator, left, right)
        if isinstance(result, int) and abs(result) > MAX_INTEGER:
            raise OverflowError("a whole number is beyond 2^53")
        charge(context, result)
        return result


def _type(value: object) -> str:
    names = {str: "a text", bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), f"a {type(value).__name__}")


@jinja2.pass_context
def _steps(context: Context, value: Any) -> Any:
    """What a `for` goes over."""
    if isinstance(value, str):
        raise TypeError("a text cannot be looped over; use splitlines(), or .json of a stage with a json_schema")
    if not isinstance(value, jinja2.Undefined | Mapping | list | tuple | range):
        value = list(value)
    return charge(context, value)


@jinja2.pass_context
def _concat(context: Context, *parts: Any) -> str:
    return str(charge(context, "".join(map(text, parts))))


def _make_environment() -> _Environment:
    environment = _Environment(
        undefined=jinja2.StrictUndefined,
        finalize=text,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
        optimized=False,  # would run parts of a template unmetered
    )
    environment.globals = {"range": environment.globals["range"]}
    environment.filters = {
        **FILTERS,
        _STEPS: _steps,
        _CHARGED: jinja2.pass_context(charge),
        _LITERAL: jinja2.pass_context(charge_parts),
        _CONCAT: _concat,
    }
    environment.tests = {name: environment.tests[name] for name in _TESTS}
    return environment


_ENVIRONMENT = _make_environment()


class _Metered(NodeTransformer):
    """Puts a meter on everything whose cost is not bounded by the length of the template."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.iter = self._filter(cast("nodes.Expr", node.iter), _STEPS)
        return node

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        if node.node is not None:
            node.node = self._filter(node.node, _CHARGED)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        first, *rest = node.nodes
        return self._filter(first, _CONCAT, *rest)

    def _literal(self, node: nodes.Expr) -> nodes.Node:
        # A literal can hold a value many times, and the next one can hold that.
        self.generic_visit(node)
        return self._filter(node, _LITERAL) if getattr(node, "ctx", "load") == "load" else node

    visit_List = visit_Dict = visit_Tuple = _literal  # noqa: N815

    @staticmethod
    def _filter(node: nodes.Expr, name: str, *args: nodes.Expr) -> nodes.Filter:
        return nodes.Filter(node, name, list(args), [], None, None, lineno=node.lineno, environment=_ENVIRONMENT)


@dataclass(frozen=True, slots=True)
class Reference:
    """A use of a variable from outside: `refine.last.draft` is name `refine`, path `("last", "draft")`."""

    name: str
    path: tuple[str, ...]
    line: int


class Template:
    """A parsed template. Raises one of BAD_TEMPLATE if it is not allowed."""

    def __init__(self, source: str) -> None:
        self.source = source
        tree = _ENVIRONMENT.parse(source)
        _check(tree)
        self.references = _references(tree)
        #: Names of the variables it uses.
        self.names = frozenset(meta.find_undeclared_variables(tree)) - {"range"}
        expression = _single_expression(tree)
        #: Whether it is one expression and nothing else, so that it keeps the type of its value.
        self.is_expression = expression is not None
        if expression is not None:
            target = nodes.Name("result", "store", lineno=1)
            tree = nodes.Template([nodes.Assign(target, expression, lineno=expression.lineno)], lineno=1)
        tree.set_environment(_ENVIRONMENT)
        self._code = _ENVIRONMENT.from_string(_Metered().visit(tree))

    @staticmethod
    @lru_cache(maxsize=4096)
    def of(source: str) -> Template:
        """The template with this source, kept for the next call."""
        return Template(source)

    def evaluate(self, variables: Mapping[str, object], meter: Meter) -> object:
        """The value of an expression, or the text of any other template. Raises one of RUNTIME_ERRORS."""
        context = self._code.new_context({**variables, METER: meter})
        parts: list[str] = []
        size = 0
        for part in self._code.root_render_func(context):
            size += len(part)
            meter.check_size(size)
            parts.append(part)
        return context.vars["result"] if self.is_expression else "".join(parts)

    def line_at(self, lineno: int) -> int:
        """The line of the source that a line of the compiled template comes from."""
        return self._code.get_corresponding_lineno(lineno)


def line_of(template: Template, error: BaseException) -> str:
    """The expression or line of the template that raised the error."""
    trace: TracebackType | None = error.__traceback__
    found = 1
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            found = template.line_at(trace.tb_lineno)
        trace = trace.tb_next
    lines = template.source.strip().splitlines() if template.is_expression else template.source.splitlines()
    line = lines[min(found, len(lines)) - 1].strip() if lines else ""
    return line if len(line) <= _MAX_LINE else f"{line[:_MAX_LINE]}…"


def _check(tree: nodes.Template) -> None:
    """Refuses what is not in the language. Raises TemplateSyntaxError."""
    for node in itertools.chain([tree], tree.find_all(nodes.Node)):
        if isinstance(node, nodes.For) and node.recursive:
            raise jinja2.TemplateSyntaxError("recursive loops are not available in templates", node.lineno)
        if isinstance(node, nodes.Assign) and not isinstance(node.target, nodes.Name):
            raise jinja2.TemplateSyntaxError("set takes one name", node.lineno)
        if isinstance(node, nodes.Filter) and node.name not in _ENVIRONMENT.filters:
            raise jinja2.TemplateSyntaxError(f"there is no filter {node.name!r}", node.lineno)
        if isinstance(node, nodes.Test) and node.name not in _ENVIRONMENT.tests:
            raise jinja2.TemplateSyntaxError(f"there is no test {node.name!r}", node.lineno)
        if not isinstance(node, _NODES):
            what = type(node).__name__
            raise jinja2.TemplateSyntaxError(f"{what} is not available in templates", node.lineno)


def _single_expression(tree: nodes.Template) -> nodes.Expr | None:
    if len(tree.body) != 1 or not isinstance(tree.body[0], nodes.Output):
        return None
    parts = [
        part for part in tree.body[0].nodes if not (isinstance(part, nodes.TemplateData) and not part.data.strip())
    ]
    return parts[0] if len(parts) == 1 and not isinstance(parts[0], nodes.TemplateData) else None


def _references(tree: nodes.Template) -> tuple[Reference, ...]:
    """All uses of variables from outside, with as much of the path as can be read off."""
    outside = meta.find_undeclared_variables(tree) - {"range"}
    stored = {node.name for node in tree.find_all(nodes.Name) if node.ctx == "store"}
    found: list[Reference] = []

    def visit(node: nodes.Node, path: tuple[str, ...]) -> None:
        if isinstance(node, nodes.Name) and node.ctx == "load" and node.name in outside:
            # A name that is also set inside may mean either: its path says nothing.
            found.append(Reference(node.name, () if node.name in stored else path, node.lineno))
        elif isinstance(node, nodes.Getattr):
            visit(node.node, (node.attr, *path))
        elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            visit(node.node, (node.arg.value, *path))
        else:
            for child in node.iter_child_nodes():
                visit(child, ())

    visit(tree, ())
    return tuple(found)
