"""The tools a plan may use, and their catalogue for the prompt that asks for a plan."""

from __future__ import annotations

from typing import Any

from llmsched.applications.task_automation import calculation, dates, images, search, tables, text
from llmsched.tools import ToolRegistry

__all__ = ["calculation", "catalogue", "dates", "images", "search", "tables", "text"]


def catalogue() -> list[dict[str, Any]]:
    """Name, description, one-line signature and schemas of each tool, in alphabetical order."""
    registry = ToolRegistry()
    for module in (calculation, dates, images, search, tables, text):
        registry.register_module(module)
    return [spec.describe() for spec in registry]
