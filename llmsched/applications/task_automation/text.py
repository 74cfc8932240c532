"""Tools on English text. All of them count words; none understands what it reads."""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Literal

from typing_extensions import TypedDict

from llmsched.tools import tool

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]*[A-Z0-9])")


class Statistics(TypedDict):
    """Counts of a text."""

    characters: int
    words: int
    unique_words: int
    sentences: int
    words_per_sentence: float


class Keyword(TypedDict):
    """A word and how often it occurs."""

    word: str
    count: int


class Sentiment(TypedDict):
    """The mood of a text and the words that decided it."""

    label: Literal["positive", "negative", "neutral"]
    score: float
    positive: list[str]
    negative: list[str]


class Difference(TypedDict):
    """How two texts differ."""

    similarity: float
    added: int
    removed: int
    diff: str


@tool(name="text.statistics")
def statistics(text: str) -> Statistics:
    """Count the characters, words, different words and sentences of a text.

    Args:
        text: Any text.
    """
    words, sentences = _words(text), _sentences(text)
    return {
        "characters": len(text),
        "words": len(words),
        "unique_words": len(set(words)),
        "sentences": len(sentences),
        "words_per_sentence": round(len(words) / len(sentences), 2) if sentences else 0.0,
    }


@tool(name="text.keywords")
def keywords(text: str, count: int = 5) -> list[Keyword]:
    """List the most frequent words of a text that carry meaning, most frequent first.

    Args:
        text: English text.
        count: How many words at most.
    """
    meant = Counter(_meaningful(text))
    ranked = sorted(meant.items(), key=lambda item: (-item[1], item[0]))
    return [{"word": word, "count": number} for word, number in ranked[: max(count, 0)]]


@tool(name="text.summarise_extractive")
def summarise_extractive(text: str, sentences: int = 3) -> str:
    """Shorten a text to its most telling sentences, unchanged and in their order.

    Args:
        text: English text.
        sentences: How many sentences to keep.
    """
    everything = _sentences(text)
    weight = Counter(_meaningful(text))

    def worth(sentence: str) -> float:
        # Divided by the length: a long sentence is not better for being long.
        words = _meaningful(sentence)
        return sum(weight[word] for word in words) / (len(words) + 3)

    best = sorted(range(len(everything)), key=lambda i: (-worth(everything[i]), i))[: max(sentences, 1)]
    return " ".join(everything[i] for i in sorted(best))


@tool(name="text.sentiment")
def sentiment(text: str) -> Sentiment:
    """Tell whether a text sounds positive, negative or neutral, by counting words of praise and complaint.

    The score goes from -1 (all negative) to 1. A word after "not" or "never" counts as its opposite.

    Args:
        text: English text, for example a review.
    """
    lexicon = _data("sentiment.json")
    found: dict[str, list[str]] = {"positive": [], "negative": []}
    words = _words(text)
    for position, word in enumerate(words):
        label = next((name for name in found if word in lexicon[name]), None)
        if label is None:
            continue
        before = words[max(0, position - 2) : position]
        if negation := next((other for other in before if other in lexicon["negation"]), None):
            label = "negative" if label == "positive" else "positive"
            word = f"{negation} {word}"
        found[label].append(word)
    plus, minus = len(found["positive"]), len(found["negative"])
    score = round((plus - minus) / (plus + minus), 2) if plus + minus else 0.0
    label_: Literal["positive", "negative", "neutral"] = (
        "positive" if score > 0 else "negative" if score < 0 else "neutral"
    )
    return {"label": label_, "score": score, "positive": found["positive"], "negative": found["negative"]}


@tool(name="text.diff")
def diff(before: str, after: str) -> Difference:
    """Compare two texts line by line: a unified diff, lines added and removed, and their similarity from 0 to 1.

    Args:
        before: The first text.
        after: The second text.
    """
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), "before", "after", lineterm=""))
    body = lines[2:]
    return {
        "similarity": round(difflib.SequenceMatcher(None, before, after, autojunk=False).ratio(), 3),
        "added": sum(line.startswith("+") for line in body),
        "removed": sum(line.startswith("-") for line in body),
        "diff": "\n".join(lines),
    }


@tool(name="text.replace")
def replace(text: str, old: str, new: str) -> str:
    """Replace every occurrence of a piece of text by another; upper and lower case are told apart.

    Args:
        text: The text to change.
        old: What to look for, literally.
        new: What to put there.
    """
    if not old:
        raise ValueError("old must not be empty")
    return text.replace(old, new)


@tool(name="hash.digest")
def digest(text: str, algorithm: Literal["sha256", "sha1", "md5", "blake2b"] = "sha256") -> str:
    """Compute the checksum of a text (UTF-8), in hexadecimal digits.

    Args:
        text: Any text.
        algorithm: Which checksum.
    """
    return hashlib.new(algorithm, text.encode(), usedforsecurity=False).hexdigest()


def _words(text: str) -> list[str]:
    return [word.lower().replace("’", "'") for word in _WORD.findall(text)]


def _sentences(text: str) -> list[str]:
    return [sentence for part in _SENTENCE_END.split(text) if (sentence := " ".join(part.split()))]


def _meaningful(text: str) -> list[str]:
    stopwords = _data("stopwords.json")["english"]
    return [word for word in _words(text) if len(word) > 2 and word not in stopwords]


@functools.cache
def _data(name: str) -> dict[str, frozenset[str]]:
    raw = json.loads((Path(__file__).parent / "data" / name).read_text(encoding="utf-8"))
    return {key: frozenset(words.split()) for key, words in raw.items()}
