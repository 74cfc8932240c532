"""Full-text search over a small shipped collection of encyclopaedic notes."""

from __future__ import annotations

import functools
import json
import re
import sqlite3
from pathlib import Path

from typing_extensions import TypedDict

from llmsched.tools import tool

_NOTES = Path(__file__).parent / "data" / "notes.jsonl"


class Hit(TypedDict):
    """A note that was found."""

    title: str
    text: str
    score: float


@tool(name="search.lookup")
def lookup(query: str, limit: int = 3) -> list[Hit]:
    """Search forty short encyclopaedic notes on science, geography, history and technology; best match first.

    Args:
        query: Words to look for; notes with more and rarer ones of them come first.
        limit: How many notes at most, 1 to 20.
    """
    words = re.findall(r"\w+", query.lower())
    if not words:
        return []
    # Quoted: otherwise words such as AND or NEAR would be commands.
    wanted = " OR ".join(f'"{word}"' for word in words)
    rows = _index().execute(
        "SELECT title, text, bm25(notes, 5.0, 1.0) AS rank FROM notes WHERE notes MATCH ? ORDER BY rank, title LIMIT ?",
        (wanted, min(max(limit, 1), 20)),
    )
    return [{"title": title, "text": text, "score": round(-rank, 3)} for title, text, rank in rows]


@functools.cache
def _index() -> sqlite3.Connection:
    # Shared between threads of the in-process runner; it is only read after this.
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.execute("CREATE VIRTUAL TABLE notes USING fts5(title, text, tokenize='porter unicode61')")
    notes = [json.loads(line) for line in _NOTES.read_text(encoding="utf-8").splitlines()]
    connection.executemany("INSERT INTO notes VALUES (:title, :text)", notes)
    return connection
