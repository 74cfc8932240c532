"""The applications that ship with LLMSched: where they are, and inputs to try them on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from random import Random
from typing import Any

from llmsched.application import ApplicationSpec, parse_yaml


@dataclass(frozen=True, slots=True)
class ReferenceApplication:
    """One of the shipped applications: a package with application.yaml, tools.py and inputs.py."""

    name: str

    @property
    def package(self) -> str:
        """The package that holds it."""
        return f"llmsched.applications.{self.name.replace('-', '_')}"

    def load(self) -> ApplicationSpec:
        """The application as its YAML file has it."""
        return parse_yaml(files(self.package).joinpath("application.yaml").read_text(encoding="utf-8"))

    def make_input(self, random: Random) -> dict[str, Any]:
        """Draw an input."""
        drawn: dict[str, Any] = import_module(f"{self.package}.inputs").make_input(random)
        return drawn

    def inputs(self, random: Random) -> Iterator[dict[str, Any]]:
        """Inputs without end; equal generators give equal inputs."""
        while True:
            yield self.make_input(random)


REFERENCE_APPLICATIONS = (
    ReferenceApplication("sorting"),
    ReferenceApplication("code-generation"),
    ReferenceApplication("task-automation"),
    ReferenceApplication("map-reduce"),
    ReferenceApplication("taskmatrix"),
    ReferenceApplication("optiguide"),
    ReferenceApplication("document-merging"),
    ReferenceApplication("web-search"),
    ReferenceApplication("llm-compiler"),
    ReferenceApplication("claim-checking"),
)
