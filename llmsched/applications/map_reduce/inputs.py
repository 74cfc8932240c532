"""Texts to summarise: what modules of Python's standard library say of themselves."""

from __future__ import annotations

import functools
import importlib
import inspect
from random import Random
from typing import Any

_MODULES = (
    "argparse", "asyncio", "calendar", "collections", "configparser", "contextlib", "copy", "csv",
    "difflib", "doctest", "enum", "functools", "heapq", 
    "inspect", "json", "locale", "logging", "optparse", "pathlib",
    "pickle", "random", "sched", "secrets", "shelve", "shutil", "smtplib", "statistics", 
    "subprocess", "tarfile", "tempfile", "textwrap", "threading", "timeit", "traceback", "unittest",
    "urllib.parse", "warnings", "weakref", "zipfile",
)  # fmt: skip
#: Words, and so parts: most texts are short, and a few are long enough for several rounds.
_SHORTEST, _LONGEST, _MEAN = 40, 560, 180


def make_input(random: Random) -> dict[str, Any]:
    """The beginning of a module's help text, of a length that varies much."""
    words = _help_text(random.choice(_MODULES)).split()
    length = min(max(round(random.expovariate(1 / _MEAN)), _SHORTEST), _LONGEST)
    return {"text": " ".join(words[:length])}


@functools.cache
def _help_text(name: str) -> str:
    """The docstrings of a module and of what it defines, one after another."""
    module = importlib.import_module(name)
    # What it offers, and not what happens to have been imported into it.
    members = [getattr(module, key) for key in sorted(module.__all__)]
    documented = [member for member in members if callable(member)]
    texts = [inspect.cleandoc(module.__doc__ or ""), *(inspect.getdoc(member) or "" for member in documented)]
    return "\n\n".join(text for text in dict.fromkeys(texts) if text)
