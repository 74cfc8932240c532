"""What the engine without a model answers: made-up text, a value for a schema, or what the prompt itself asks for.

Everything follows from the seed and the request; the same prompt is answered the same way in every run.

A prompt can script its answer, for tests, by lines that begin with

    [[reply: "any JSON string"]]    answers exactly this text
    [[tokens: 40]]                  the answer has this many tokens
    [[fail: 503]]                   refuses the request with this HTTP status, every time
    [[fail: 503 x2]]                only the first two times, counted per prompt

The last line of each kind counts, so that a conversation can change its mind.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from services.executors.engine_sim.schema_values import value_for

_BYTES_PER_TOKEN = 4
_SYLLABLES = ("an", "be", "cor", "du", "es", "fi", "ga", "hem", "jo", "ka", "lum", "me", "no", "ral", "si", "tor", "ve")
_WORDS = tuple(first + last for first in _SYLLABLES for last in _SYLLABLES)
_REPLY = re.compile(r'^\[\[reply: ("(?:[^"\\]|\\.)*")\]\]', re.MULTILINE)
_TOKENS = re.compile(r"^\[\[tokens: (\d+)\]\]", re.MULTILINE)
_FAIL = re.compile(r"^\[\[fail: ([45]\d\d)(?: x(\d+))?\]\]", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What of a request decides its answer."""

    prompt: str
    max_tokens: int
    ignore_eos: bool = False
    """The answer has exactly `max_tokens`."""
    json_schema: Mapping[str, Any] | bool | None = None
    stop: Sequence[str] = ()
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer, of which each token shows an equal share of the text."""

    text: str
    tokens: int
    finish_reason: Literal["stop", "length"]

    def up_to(self, tokens: int) -> str:
        """The text after that many tokens."""
        return self.text[: len(self.text) * tokens // self.tokens]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedFailure:
    """A prompt that asks to be refused."""

    status: int
    times: int | None
    """How often; None is always."""


def scripted_failure(prompt: str) -> ScriptedFailure | None:
    found = _last(_FAIL, prompt)
    return found and ScriptedFailure(status=int(found[1]), times=int(found[2]) if found[2] else None)


def reply_to(question: Question, *, seed: int, mean_fraction: float) -> Reply:
    """The answer. Lengths nobody scripts are geometric with mean `mean_fraction` of `max_tokens`, cut there.

    Raises UnsupportedSchema.
    """
    rng = _generator(seed, question)
    scripted = _last(_REPLY, question.prompt)
    wanted = _last(_TOKENS, question.prompt)
    text: str | None = None
    if scripted:
        text = json.loads(scripted[1])
    elif question.json_schema is not None:
        text = json.dumps(value_for(question.json_schema, rng), ensure_ascii=False)
    if question.ignore_eos:
        tokens = question.max_tokens
    elif wanted:
        tokens = max(1, int(wanted[1]))
    elif text is not None:
        tokens = count_tokens(text)
    else:
        tokens = _drawn_length(rng, mean_fraction * question.max_tokens)
    if text is None:
        tokens = min(tokens, question.max_tokens + 1)  # one more than fits tells that it does not fit
        text = _words(rng, tokens)
    return _ended(Reply(text=text, tokens=tokens, finish_reason="stop"), question)


def _ended(reply: Reply, question: Question) -> Reply:
    """The reply as far as its first stop string, and as far as it may go."""
    most = question.max_tokens
    if question.ignore_eos:
        return Reply(text=reply.text, tokens=most, finish_reason="length")
    found = [at for at in (reply.text.find(stop) for stop in question.stop if stop) if at >= 0]
    if found:
        text = reply.text[: min(found)]
        reply = Reply(text=text, tokens=max(1, reply.tokens * len(text) // len(reply.text)), finish_reason="stop")
    if reply.tokens > most:
        return Reply(text=reply.up_to(most), tokens=most, finish_reason="length")
    return reply


def encode(text: str) -> list[int]:
    """The tokens of a text: four bytes each, so that they can be turned back."""
    data = text.encode()
    # The leading 1 keeps zero bytes and the length of the last token.
    return [int.from_bytes(b"\x01" + data[i : i + _BYTES_PER_TOKEN]) for i in range(0, len(data), _BYTES_PER_TOKEN)]


def decode(tokens: Sequence[int]) -> str:
    """The text of tokens that `encode` made. Raises ValueError for others."""
    pieces = [token.to_bytes(_BYTES_PER_TOKEN + 1).lstrip(b"\x00") for token in tokens if 0 < token < 2**34]
    if len(pieces) != len(tokens) or any(piece[:1] != b"\x01" for piece in pieces):
        raise ValueError("these tokens are not of this engine's tokenizer")
    return b"".join(piece[1:] for piece in pieces).decode()


def count_tokens(text: str) -> int:
    """How many tokens a text has; at least 1, as an engine never answers with none."""
    return max(1, math.ceil(len(text.encode()) / _BYTES_PER_TOKEN))


def _generator(seed: int, question: Question) -> random.Random:
    key = json.dumps([seed, question.seed, question.prompt]).encode()
    return random.Random(hashlib.blake2b(key, digest_size=8).digest())


def _drawn_length(rng: random.Random, mean: float) -> int:
    if mean <= 1:
        return 1
    return 1 + int(math.log(1 - rng.uniform(0, 1 - 1e-12)) / math.log(1 - 1 / mean))


def _words(rng: random.Random, tokens: int) -> str:
    """Text of exactly that many tokens."""
    length = tokens * _BYTES_PER_TOKEN
    # A word has at least four letters, so this many are always enough.
    return " ".join(rng.choices(_WORDS, k=tokens + 1))[:length]


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found: re.Match[str] | None = None
    for found in pattern.finditer(text):  # noqa: B007 - the last one is what is wanted
        continue
    return found
