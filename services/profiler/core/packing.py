"""Profiles as bytes, for the store and the wire."""

from __future__ import annotations

import json

from services.profiler.core.profile import Profile

#: Names and versions the format: `Profile.plain` as JSON.
ENCODING = "llmsched-profile-1+json"


class UnknownEncoding(ValueError):
    """The bytes are of a format that this version does not know, or damaged."""


def pack(profile: Profile) -> bytes:
    """Reading it back gives an equal profile, to the last bit of every number."""
    return json.dumps(profile.plain(), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def unpack(data: bytes, encoding: str) -> Profile:
    """Raises UnknownEncoding."""
    if encoding != ENCODING:
        raise UnknownEncoding(f"a profile is encoded as {encoding!r}, and this version reads {ENCODING!r}")
    try:
        return Profile.of_plain(json.loads(data))
    except (ValueError, TypeError, LookupError) as error:
        raise UnknownEncoding(f"a profile cannot be read: {error}") from error
