"""A small library to search: what the modules of Python's standard library say of themselves, and installed packages.

Nothing is downloaded and nothing imported: sources are read and parsed. The index is built in memory, once a process.
"""

from __future__ import annotations

import ast
import functools
import re
import sqlite3
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

__all__ = ["Document", "documents", "find"]

_words = str.split
#: Well described modules of one file; a fixed list, so that the size is bounded.
_MODULES = _words(
    "abc argparse ast base64 bisect calendar cmd codeop colorsys configparser contextlib copy csv "
    "difflib dis filecmp fileinput fnmatch fractions functools getpass gettext glob graphlib gzip "
    "heapq hmac ipaddress keyword linecache locale lzma mimetypes netrc numbers operator optparse pprint "
    "queue random sched secrets selectors shelve shlex shutil statistics string stringprep tabnanny tempfile "
    "textwrap timeit trace types uuid wave weakref zipfile"
)
_MAX_DISTRIBUTIONS = 200
_MAX_TEXT = 300
#: Too frequent to tell documents apart.
_LITTLE = frozenset(_words("a an and are by can do does for how i in is it of on or the to what which with"))


@dataclass(frozen=True, slots=True)
class Document:
    """A title and the beginning of a text."""

    title: str
    text: str
    kind: str  #: module, function, class or package


@functools.cache
def documents() -> tuple[Document, ...]:
    """All documents, in the same order on every machine with the same installation."""
    return (*_from_modules(), *_from_distributions())


def find(query: str, limit: int) -> list[Document]:
    """The documents that fit a query best; none if no word of it occurs."""
    words = [word for word in re.findall(r"\w+", query.lower()) if word not in _LITTLE]
    if not words:
        return []
    # Quoted: otherwise words such as AND or NEAR would be commands.
    wanted = " OR ".join(f'"{word}"' for word in words)
    rows = _index().execute(
        "SELECT title, text, kind FROM documents WHERE documents MATCH ? "
        "ORDER BY bm25(documents, 4.0, 1.0), title, text LIMIT ?",
        (wanted, limit),
    )
    return [Document(*row) for row in rows]


@functools.cache
def _index() -> sqlite3.Connection:
    # Shared between threads of the in-process runner; it is only read after this.
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.execute("CREATE VIRTUAL TABLE documents USING fts5(title, text, kind UNINDEXED, tokenize='porter')")
    rows = [(each.title, each.text, each.kind) for each in documents()]
    connection.executemany("INSERT INTO documents VALUES (?, ?, ?)", rows)
    return connection


def _from_modules() -> Iterator[Document]:
    folder = Path(sysconfig.get_path("stdlib"))
    for module in _MODULES:
        try:
            tree = ast.parse((folder / f"{module}.py").read_text(encoding="utf-8"))
        except (OSError, SyntaxError, UnicodeDecodeError):
            continue  # not every Python has every module, or has it as a source
        yield from _document(tree, module, "module")
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                kind = "class" if isinstance(node, ast.ClassDef) else "function"
                yield from _document(node, f"{module}.{node.name}", kind)


def _document(node: ast.Module | ast.FunctionDef | ast.ClassDef, title: str, kind: str) -> Iterator[Document]:
    text = " ".join((ast.get_docstring(node) or "").split())
    if text:
        yield Document(title, text[:_MAX_TEXT], kind)


def _from_distributions() -> Iterator[Document]:
    found = {}
    for distribution in distributions():
        name, summary = distribution.metadata["Name"], distribution.metadata["Summary"]
        if name and summary:
            found[name.lower()] = Document(name, summary[:_MAX_TEXT], "package")
    yield from [found[name] for name in sorted(found)[:_MAX_DISTRIBUTIONS]]
