"""References to what is known only when a job runs, and how they are written into templates."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes

__all__ = ["Reference", "filled", "template"]

_JINJA = jinja2.Environment(keep_trailing_newline=True)  # only to read templates; `templates` renders them
_Token = tuple[str, str]  #: kind and text


class Reference:
    """Stands for a value of a job: its input, or what a stage gives, or a part of that.

    Fields and elements are references too. In a text (`f"{first}"`) it is a template.
    """

    def __init__(self, expression: str, *, stage: str = "", part: str = "", many: bool = False) -> None:
        """`stage` is the one it is the output of, of which `part` is meant; `many`: a list of such outputs."""
        self._expression = expression if many or not part else f"{expression}.{part}"
        self._stage = stage
        self._part = part
        self._many = many

    def or_else(self, default: Any) -> Reference:
        """The value, or the default where it is absent."""
        return Reference(f"({self._expression} | default({_expression(default)}))")

    def stage_of(self) -> str:
        """The stage that it is the output of. Raises TypeError."""
        if not self._stage:
            raise TypeError(f"{self!r} is not the output of a stage")
        return self._stage

    def __getattr__(self, name: str) -> Reference:
        if name.startswith("_"):
            raise AttributeError(name)
        self._refuse_parts()
        return Reference(f"{self._expression}.{name}")

    def __getitem__(self, key: str | int) -> Reference:
        if self._many:
            return Reference(f"{self._expression}[{_expression(key)}]", part=self._part)
        self._refuse_parts()
        return Reference(f"{self._expression}[{_expression(key)}]")

    def __str__(self) -> str:
        return f"{{{{ {self._expression} }}}}"

    def __repr__(self) -> str:
        return f"Reference({self._expression!r})"

    def _refuse_parts(self) -> None:
        if self._part == "text" and not self._many:
            raise AttributeError(
                f"{self._expression} is a text that is written when a job runs: use filters in a template"
            )

    def _unknown(self, *_: object) -> NoReturn:
        raise TypeError(
            f"{self._expression} is known only when a job runs: say it with when, foreach or loop, or in a template"
        )

    # Compared as objects are, references would differ from every value, and a branch would be gone without a word.
    __eq__ = __ne__ = _unknown
    __hash__ = object.__hash__
    __bool__ = __iter__ = __len__ = __call__ = __contains__ = __lt__ = __le__ = __gt__ = __ge__ = _unknown
    __add__ = __radd__ = __sub__ = __mul__ = __int__ = __float__ = _unknown


def template(value: Any) -> Any:
    """A JSON value with templates where there were references."""
    if isinstance(value, Reference):
        return str(value)
    if isinstance(value, Mapping):
        return {key: template(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [template(each) for each in value]
    return value


def filled(source: str, values: Mapping[str, Any]) -> str:
    """A template whose names are replaced by expressions for these values. Raises TypeError."""
    try:
        taken = {node.name for node in _JINJA.parse(source).find_all(nodes.Name) if node.ctx == "store"} & values.keys()
        tokens = _tokens(source)
    except jinja2.TemplateSyntaxError:
        return source  # refused with everything else that is wrong, when the application is checked
    if taken:
        raise TypeError(f"the template gives {', '.join(sorted(taken))}, a parameter, another value: {source!r}")
    return "".join(
        _expression(values[text]) if kind == "name" and text in values and _is_variable(tokens, place) else text
        for place, (kind, text) in enumerate(tokens)
    )


def _tokens(source: str) -> list[_Token]:
    return [(kind, text) for _, kind, text in _JINJA.lex(source)]


def _is_variable(tokens: list[_Token], place: int) -> bool:
    """Whether the name there is a variable, and not a field, a filter, a test or the name of an argument."""
    before = next(_meaningful(reversed(tokens[:place])), "")
    after = next(_meaningful(iter(tokens[place + 1 :])), "")
    return before not in (".", "|", "is") and after != "="


def _meaningful(tokens: Iterator[_Token]) -> Iterator[str]:
    return (text for kind, text in tokens if kind != "whitespace")


def _expression(value: Any) -> str:
    """A value as an expression of templates."""
    match value:
        case Reference():
            return value._expression
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return _text_expression(value)
        case Mapping():
            return "{" + ", ".join(f"{_literal(str(key))}: {_expression(each)}" for key, each in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_expression, value)) + "]"
    raise TypeError(f"{value!r} is no JSON value and no reference")


def _text_expression(text: str) -> str:
    """A text, of which references may be parts (`f"{first}"`)."""
    if "{{" not in text:
        return _literal(text)
    try:
        _JINJA.parse(text)
    except jinja2.TemplateSyntaxError as error:
        raise TypeError(f"{{{{ begins an expression, which {text!r} has not: {error}") from error
    parts, inside = [], ""
    for kind, token in _tokens(text):
        if kind == "data":
            parts.append(_literal(token))
        elif kind == "variable_end":
            parts.append(f"({inside.strip()})")
            inside = ""
        elif kind.endswith("_begin") and kind != "variable_begin":
            raise TypeError(f"{text!r} is a part of a template: beside {{{{ }}}} there can be no {token} in it")
        elif kind != "variable_begin":
            inside += token
    return "(" + " ~ ".join(parts) + ")"


def _literal(text: str) -> str:
    # ensure_ascii would write what is beyond 16 bits as two halves, which templates do not put together.
    return json.dumps(text, ensure_ascii=False)
