"""Pages of lists: how large, from where, and what leads to the next one."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from services.common.errors import Violation, invalid_argument

_DEFAULT, _LARGEST = 50, 500
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a request asks for."""

    size: int
    after: str  #: place of the last item of the page before; "" for the first page
    question: str  #: hash of what else was asked: a token belongs to the request it came from

    def cut(self, items: Sequence[_Item], place: Callable[[_Item], object]) -> tuple[Sequence[_Item], str]:
        """This page and the token of the next one. `items` are one more than fit, if there are so many."""
        shown = items[: self.size]
        if len(items) <= self.size:
            return shown, ""
        return shown, base64.urlsafe_b64encode(f"{self.question}:{place(shown[-1])}".encode()).decode()


def page_of(request: Any, violations: Sequence[Violation] = ()) -> Page:
    """The page that a List request asks for.

    Raises INVALID_ARGUMENT: INVALID_REQUEST, with what else is wrong with the request, or INVALID_PAGE_TOKEN.
    """
    if request.page_size < 0:
        violations = [Violation("page_size", "must not be negative"), *violations]
    if violations:
        raise invalid_argument("INVALID_REQUEST", "the request is not valid", violations)
    question = _question(request)
    return Page(
        size=min(request.page_size or _DEFAULT, _LARGEST), after=_place(request.page_token, question), question=question
    )


def _question(request: Any) -> str:
    rest = type(request)()
    rest.CopyFrom(request)
    rest.ClearField("page_size")
    rest.ClearField("page_token")
    content = rest.DESCRIPTOR.name.encode() + rest.SerializeToString(deterministic=True)
    return hashlib.blake2b(content, digest_size=6).hexdigest()


def _place(token: str, question: str) -> str:
    if not token:
        return ""
    try:
        known, _, place = base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode().partition(":")
    except (binascii.Error, UnicodeError):
        known = place = ""
    if known != question or not place:
        violation = Violation("page_token", "must come from an earlier response to the same question")
        raise invalid_argument("INVALID_PAGE_TOKEN", "the request is not valid", [violation])
    return place
