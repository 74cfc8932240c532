"""Tools of document merging, after "Graph of Thoughts" (Besta et al., AAAI 2024), section 5.4.

A merged document is good if it keeps what the sources say and says nothing twice: the harmonic mean of both counts, as
in the paper. There an LLM gives both marks; here a count of words does too, and the mean of the two is taken. Answers
come as text and are taken as they are: a bad one gets a bad score, never an error.
"""

from __future__ import annotations

import re
from collections import Counter

from typing_extensions import TypedDict

from llmsched.applications.answers import read_list
from llmsched.tools import tool

_WORD = re.compile(r"[^\W_]+")
_words = str.split
_LITTLE = frozenset(
    _words("a an all and any are as at be by for from in is it may must no not of on or shall the to with")
)
_PHRASE = 3  #: words in a row that count as said again
_MAX_MARK = 9


class Score(TypedDict):
    """How good a draft is; everything from 0 to 1."""

    text: str
    score: float
    #: Share of the sources' key terms that the draft has.
    kept: float
    #: Share of the draft that is not said twice.
    terse: float
    #: The terms that are missing, for whoever improves the draft.
    missing: list[str]
    #: What was wrong with the marks of the judge; null if nothing.
    problem: str | None


class Choice(TypedDict):
    """The drafts that go on, best first, and what was wrong on the way."""

    best: list[Score]
    problems: list[str]


@tool(name="merging.score")
def score(sources: list[str], draft: str, judgement: str | None = None) -> Score:
    """Mark a merged document: what it keeps of its sources, and how little it repeats itself.

    Args:
        sources: The documents that were merged.
        draft: The merged document.
        judgement: A model's marks from 0 to 9: a list of two, for what is kept and how terse it is.
    """
    wanted, found = _terms(" ".join(sources)), set(_terms(draft))
    missing = [term for term in wanted if term not in found]
    kept = 1 - len(missing) / len(wanted) if wanted else 1.0
    terse = _terseness(draft)
    problem = None
    if judgement is not None:
        marks, problem = read_list(judgement)
        judged = [share for mark in marks[:2] if (share := _mark(mark)) is not None]
        if len(judged) == 2:
            kept, terse = (kept + judged[0]) / 2, (terse + judged[1]) / 2
        else:
            problem = problem or "the judge gave no two marks from 0 to 9"
    harmonic = 2 * kept * terse / (kept + terse) if kept + terse else 0.0
    return {
        "text": draft,
        "score": round(harmonic, 3),
        "kept": round(kept, 3),
        "terse": round(terse, 3),
        "missing": missing[:6],
        "problem": problem,
    }


@tool(name="merging.keep_best")
def keep_best(scores: list[Score], count: int = 1) -> Choice:
    """Keep the drafts with the best scores, the first of equals first.

    Args:
        scores: As merging.score gives them.
        count: How many to keep at most.
    """
    if not scores:
        raise ValueError("there is no draft to choose from")
    ranked = sorted(scores, key=lambda each: -each["score"])
    problems = [f"draft {n}: {each['problem']}" for n, each in enumerate(scores, 1) if each["problem"]]
    problems += [f"draft {n} is empty" for n, each in enumerate(scores, 1) if not each["text"].strip()]
    return {"best": ranked[: max(count, 1)], "problems": problems}


@tool(name="merging.compare")
def compare(sources: list[str], texts: list[str]) -> Score:
    """Keep the best of several merged documents by what can be counted, the first of equals.

    Args:
        sources: The documents that were merged.
        texts: Merged documents.
    """
    return keep_best([score(sources, text) for text in texts])["best"][0]


def _terms(text: str) -> list[str]:
    """The words that carry meaning, each once, in order."""
    words = [word.lower() for word in _WORD.findall(text)]
    return list(dict.fromkeys(word for word in words if word not in _LITTLE))


def _terseness(text: str) -> float:
    words = [word.lower() for word in _WORD.findall(text)]
    if not words:
        return 0.0
    phrases = Counter(zip(*(words[start:] for start in range(_PHRASE)), strict=False))
    repeated = sum(count - 1 for count in phrases.values())
    return 1 - repeated / max(1, phrases.total())


def _mark(value: object) -> float | None:
    """A mark from 0 to 9 as a share of the best."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_MARK:
        return None
    return value / _MAX_MARK
