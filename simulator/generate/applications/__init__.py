"""Built-in parametric applications: jobs for those who have no recordings."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from simulator.generate.applications.base import ParametricApplication
from simulator.generate.applications.code_generation import CodeGeneration
from simulator.generate.applications.document_merging import DocumentMerging
from simulator.generate.applications.llm_compiler import LlmCompiler
from simulator.generate.applications.sorting import Sorting
from simulator.generate.applications.task_automation import TaskAutomation
from simulator.generate.applications.web_search import WebSearch

__all__ = ["PARAMETRIC", "ParametricApplication"]

#: How to make each application, with the default parameters, by its name.
PARAMETRIC: Mapping[str, Callable[[], ParametricApplication]] = {
    "code_generation": CodeGeneration,
    "document_merging": DocumentMerging,
    "llm_compiler": LlmCompiler,
    "sorting": Sorting,
    "task_automation": TaskAutomation,
    "web_search": WebSearch,
}
