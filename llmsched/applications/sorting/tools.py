"""Tools of the sorting application, after "Graph of Thoughts" (Besta et al., AAAI 2024), section 5.1.

A list is split into parts, an LLM sorts each part several times, each try is scored, the best is kept, and an LLM
merges the sorted parts pair by pair. Answers of an LLM come as text and are taken as they are: a bad one gets a
bad score, never an error.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

from typing_extensions import TypedDict

from llmsched.tools import tool

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.]*\w)")
_LIST = re.compile(r"\[([^\[\]]*)\]")

Number = int | float


class Score(TypedDict):
    """How good a sorted list is; 0 errors is perfect."""

    errors: int
    inversions: int
    miscounted: int
    sorted: list[Number]


class Best(TypedDict):
    """The best of several tries, and which one it was."""

    sorted: list[Number]
    errors: int
    index: int


@tool(name="sorting.split")
def split(numbers: list[Number], parts: int) -> list[list[Number]]:
    """Split a list into so many parts of nearly equal length, in order.

    Args:
        numbers: The list to split.
        parts: How many parts; never more than there are numbers.
    """
    if parts < 1:
        raise ValueError(f"parts must be at least 1, not {parts}")
    parts = max(1, min(parts, len(numbers)))
    size, longer = divmod(len(numbers), parts)
    bounds = [i * size + min(i, longer) for i in range(parts + 1)]
    return [numbers[start:end] for start, end in pairwise(bounds)]


@tool(name="sorting.parse")
def parse(text: str) -> list[Number]:
    """Read the list of numbers that an answer gives; empty if there is none.

    The last list in square brackets counts, as answers often show their steps first; without brackets all
    numbers of the last line that has any.

    Args:
        text: The answer of a language model.
    """
    lists = [numbers for body in _LIST.findall(text) if (numbers := _numbers(body))]
    if lists:
        return lists[-1]
    lines = [numbers for line in text.splitlines() if (numbers := _numbers(line))]
    return lines[-1] if lines else []


@tool(name="sorting.score")
def score(original: list[Number], text: str | list[Number]) -> Score:
    """Count the errors of a sorted list against the original one.

    Errors are neighbours in the wrong order, plus how often each number occurs too often or too rarely.

    Args:
        original: The list that was to be sorted.
        text: The answer of a language model, or a list.
    """
    numbers = parse(text) if isinstance(text, str) else text
    inversions = sum(a > b for a, b in pairwise(numbers))
    expected, found = Counter(original), Counter(numbers)
    miscounted = sum(abs(expected[number] - found[number]) for number in expected.keys() | found.keys())
    return {
        "errors": inversions + miscounted,
        "inversions": inversions,
        "miscounted": miscounted,
        "sorted": numbers,
    }


@tool(name="sorting.keep_best")
def keep_best(original: list[Number], tries: list[str | list[Number]]) -> Best:
    """Score several tries at sorting the same list and keep the one with the fewest errors, the first of equals.

    Args:
        original: The list that was to be sorted.
        tries: Answers of a language model, or lists.
    """
    if not tries:
        raise ValueError("there is no try to choose from")
    scores = [score(original, text) for text in tries]
    index = min(range(len(scores)), key=lambda i: scores[i]["errors"])
    return {"sorted": scores[index]["sorted"], "errors": scores[index]["errors"], "index": index}


@tool(name="sorting.pairs")
def pairs(lists: list[list[Number]]) -> list[list[list[Number]]]:
    """Put neighbouring lists together in pairs, for the next round of merging; an odd last one stays alone.

    Args:
        lists: Sorted lists.
    """
    return [lists[i : i + 2] for i in range(0, len(lists), 2)]


@tool(name="sorting.merge")
def merge(lists: list[list[Number]]) -> list[Number]:
    """Merge lists into one sorted list: what a merge by a language model is compared with.

    Args:
        lists: Lists, sorted or not.
    """
    return sorted(number for part in lists for number in part)


def _numbers(text: str) -> list[Number]:
    return [float(word) if "." in word else int(word) for word in _NUMBER.findall(text)]
