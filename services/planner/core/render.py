"""Rendering of templates, with errors that say where and what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from llmsched.application import JsonValue
from llmsched.application.graph import is_template
from llmsched.application.template_filters import Meter
from llmsched.application.templates import RUNTIME_ERRORS, Template, line_of
from llmsched.application.values import InvalidJsonOutput, TooLarge, plain, text
from services.planner.core.model import Failure, Limits

#: What models and tools write for "no".
_FALSE_TEXTS = frozenset({"", "0", "false", "no", "none", "null"})


class UnfoldError(Exception):
    """A stage cannot be unfolded."""

    def __init__(self, reason: str, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.failure = Failure(reason=reason, message=message, metadata=metadata)


class Renderer:
    """Renders the templates of one stage. All methods raise UnfoldError."""

    def __init__(self, stage_id: str, lookup: Callable[[str], object], limits: Limits) -> None:
        """`lookup` gives the value of a variable, and raises LookupError if there is none."""
        self._stage_id = stage_id
        self._lookup = lookup
        self._limits = limits

    def text(self, source: str, field: str) -> str:
        """The text that a template makes."""
        if not is_template(source):
            return source
        with self._errors(source, field):
            return text(self._evaluate(source))

    def value(self, source: JsonValue, field: str) -> JsonValue:
        """The value with all texts in it rendered; a text that is one expression keeps the type of its value."""
        if isinstance(source, dict):
            return {key: self.value(part, f"{field}.{key}") for key, part in source.items()}
        if isinstance(source, list):
            return [self.value(part, f"{field}[{place}]") for place, part in enumerate(source)]
        if not isinstance(source, str) or not is_template(source):
            return source
        with self._errors(source, field):
            return plain(self._evaluate(source))

    def condition(self, source: str, field: str) -> bool:
        """Whether an expression is true. Texts such as "false" and "no" are not."""
        with self._errors(source, field):
            value = self._evaluate(source)
            return value.strip().lower() not in _FALSE_TEXTS if isinstance(value, str) else bool(plain(value))

    def elements(self, source: str, field: str) -> list[JsonValue]:
        """The list that an expression gives; nothing is an empty one."""
        value = self.value(source, field)
        if value is None or isinstance(value, list):
            return value or []
        hint = "give the stage that wrote it a json_schema" if isinstance(value, str) else "it must be a list"
        return self._fail("TEMPLATE_ERROR", f"it gives {text(value)[:80]!r}, which is no list: {hint}", source, field)

    def _evaluate(self, source: str) -> object:
        template = Template.of(source)
        variables = {}
        for name in sorted(template.names):
            try:
                variables[name] = self._lookup(name)
            except LookupError:
                continue  # the template says that it is undefined, if it needs it
        meter = Meter(steps=self._limits.max_template_steps, characters=self._limits.max_payload_bytes)
        return template.evaluate(variables, meter)

    @contextmanager
    def _errors(self, source: str, field: str) -> Iterator[None]:
        try:
            yield
        except InvalidJsonOutput as error:
            self._fail("INVALID_JSON_OUTPUT", str(error), line_of(Template.of(source), error), field)
        except TooLarge as error:
            self._fail("PAYLOAD_TOO_LARGE", str(error), line_of(Template.of(source), error), field)
        except RUNTIME_ERRORS as error:
            self._fail("TEMPLATE_ERROR", str(error), line_of(Template.of(source), error), field)

    def _fail(self, reason: str, problem: str, expression: str, field: str) -> NoReturn:
        raise UnfoldError(
            reason,
            f"stage {self._stage_id}, {field}: {problem}; in {expression}",
            stage=self._stage_id,
            field=field,
            expression=expression,
            problem=problem,
        )
