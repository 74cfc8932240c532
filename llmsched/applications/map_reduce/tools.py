"""Tools of the map-reduce summary: cutting a text into parts, and grouping summaries until they fit one prompt.

Lengths are counted in words: close enough to tokens to decide with, and the same for every model.
"""

from __future__ import annotations

import re

from typing_extensions import TypedDict

from llmsched.tools import tool

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
#: A text that stands in for an answer is cut to this many words.
_STAND_IN = 20


class Grouped(TypedDict):
    """Texts in groups that each fit one prompt; `fits`: there is one group only."""

    groups: list[list[str]]
    fits: bool
    problems: list[str]


class Finished(TypedDict):
    """The summary to hand out."""

    text: str
    problems: list[str]


@tool(name="map_reduce.split")
def split(text: str, words: int = 80) -> list[str]:
    """Cut a text into parts of about equal length, at the ends of sentences where there are any.

    Args:
        text: Any text.
        words: The most words of a part; a longer sentence is cut.
    """
    if words < 1:
        raise ValueError("a part has at least one word")
    total = len(text.split())
    # As few parts as can be, and these about equal: a last part of three words is worth no call.
    target = -(-total // max(-(-total // words), 1))
    parts: list[list[str]] = [[]]
    for sentence in _SENTENCE_END.split(text):
        rest = sentence.split()
        while rest:
            part = parts[-1]
            if part and (len(part) >= target or len(part) + len(rest) > words):
                parts.append([])
                continue
            part += rest[:words]
            rest = rest[words:]
    return [" ".join(part) for part in parts if part]


@tool(name="map_reduce.group")
def group(answers: list[str], originals: list[str], words: int = 60, before: list[str] | None = None) -> Grouped:
    """Put summaries into groups of at most so many words, in order, so that each group fits one prompt.

    A group has two at least, so that every round of summarising groups has fewer results. A summary that was cut off
    loses its unfinished sentence if it has another; an empty one is replaced by the start of what it was to summarise.

    Args:
        answers: What models wrote.
        originals: The text that each answer summarises.
        words: The most words of a group.
        before: Problems of the rounds before, which are kept.
    """
    problems, texts = list(before or []), []
    for number, (answer, original) in enumerate(zip(answers, originals, strict=True), start=1):
        if not re.search(r"\w", answer):
            problems.append(f"summary {number} of {len(answers)} is empty: the start of its text stands in for it")
        texts.append(_usable(answer, original))
    groups: list[list[str]] = []
    for text in texts:
        size = sum(len(each.split()) for each in groups[-1]) if groups else 0
        if groups and (len(groups[-1]) < 2 or size + len(text.split()) <= words):
            groups[-1].append(text)
        else:
            groups.append([text])
    return {"groups": groups, "fits": len(groups) <= 1, "problems": problems}


@tool(name="map_reduce.finish")
def finish(answer: str, texts: list[str], finish_reason: str = "stop") -> Finished:
    """The summary to hand out; if a model wrote none, the texts that it was to summarise.

    Args:
        answer: What the model wrote.
        texts: What it was to summarise.
        finish_reason: Why it stopped writing: stop or length.
    """
    if not texts:
        return {"text": "", "problems": ["there was nothing to summarise"]}
    if not re.search(r"\w", answer):
        return {"text": " ".join(texts), "problems": ["the last summary is empty: those before it stand in for it"]}
    cut = finish_reason == "length"
    return {
        "text": _whole_sentences(answer) if cut else answer.strip(),
        "problems": ["the summary was cut off at the token limit"] if cut else [],
    }


def _usable(answer: str, original: str) -> str:
    if re.search(r"\w", answer):
        return _whole_sentences(answer)
    return " ".join(original.split()[:_STAND_IN])


def _whole_sentences(text: str) -> str:
    """The text without an unfinished last sentence, unless it is the only one."""
    sentences = _SENTENCE_END.split(" ".join(text.split()))
    if len(sentences) > 1 and not sentences[-1].endswith((".", "!", "?")):
        sentences.pop()
    return " ".join(sentences)
