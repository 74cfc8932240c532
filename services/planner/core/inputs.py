"""Whether an input fits an application."""

from __future__ import annotations

from collections.abc import Mapping

from jsonschema import Draft202012Validator

from llmsched.application import ApplicationSpec, JsonValue, Violation
from llmsched.application.violations import path_text


def validate_input(app: ApplicationSpec, job_input: Mapping[str, JsonValue]) -> list[Violation]:
    """Everything that is wrong with a job's input, by path; empty if it fits."""
    try:
        errors = list(Draft202012Validator(app.input).iter_errors(dict(job_input)))
    except RecursionError:
        return [Violation(path="", message="is nested too deep, or the schema refers to itself without end")]
    found = [Violation(path=path_text(error.absolute_path), message=error.message) for error in errors]
    return sorted(found, key=lambda each: (each.path, each.message))
