"""Functions on codes, checksums and colours."""

from __future__ import annotations

import base64
import codecs
import hashlib
import json
import urllib.parse
from typing import Any

from llmsched.applications.taskmatrix.catalogue.define import listed

_CODES = """
    .- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --..
    ----- .---- ..--- ...-- ....- ..... -.... --... ---.. ----.
"""
_MORSE = dict(zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", _CODES.split(), strict=True))


@listed(text="hello", gives="aGVsbG8=")
def to_base64(text: str) -> str:
    """Encode a text in Base64."""
    return base64.b64encode(text.encode()).decode()


@listed(code="aGVsbG8=", gives="hello")
def from_base64(code: str) -> str:
    """Decode a text from Base64."""
    return base64.b64decode(code, validate=True).decode()


@listed(text="hello", gives="uryyb")
def rot13(text: str) -> str:
    """Encode or decode a text with the cipher ROT13."""
    return codecs.encode(text, "rot13")


@listed(text="abz", shift=1, gives="bca")
def caesar(text: str, shift: int) -> str:
    """Encode a text with the Caesar cipher, by a shift of letters."""

    def moved(letter: str) -> str:
        first = ord("a" if letter.islower() else "A")
        return chr((ord(letter) - first + shift) % 26 + first) if letter.isascii() and letter.isalpha() else letter

    return "".join(map(moved, text))


@listed(text="SOS", gives="... --- ...")
def to_morse(text: str) -> str:
    """Write a text in Morse code."""
    words = ([_MORSE[letter] for letter in word if letter in _MORSE] for word in text.upper().split())
    return " / ".join(" ".join(word) for word in words)


@listed(code="... --- ...", gives="SOS")
def from_morse(code: str) -> str:
    """Read a text in Morse code."""
    letters = {code: letter for letter, code in _MORSE.items()}
    return " ".join("".join(letters[part] for part in word.split()) for word in code.split("/"))


@listed(text="", gives="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
def sha256(text: str) -> str:
    """Compute the SHA-256 checksum, or hash, of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


@listed(text="a b&c", gives="a%20b%26c")
def url_encode(text: str) -> str:
    """Encode a text for a web address (URL)."""
    return urllib.parse.quote(text, safe="")


@listed(text="a%20b", gives="a b")
def url_decode(text: str) -> str:
    """Decode a text from a web address (URL)."""
    return urllib.parse.unquote(text)


@listed(red=255, green=128, blue=0, gives="#ff8000")
def rgb_to_hex(red: int, green: int, blue: int) -> str:
    """Write a colour of red, green and blue in hexadecimal."""
    if not all(0 <= part <= 255 for part in (red, green, blue)):
        raise ValueError("red, green and blue go from 0 to 255")
    return f"#{red:02x}{green:02x}{blue:02x}"


@listed(colour="#ff8000", gives=[255, 128, 0])
def hex_to_rgb(colour: str) -> list[int]:
    """Split a hexadecimal colour into red, green and blue."""
    digits = colour.removeprefix("#")
    if len(digits) != 6:
        raise ValueError("a colour has six digits")
    return list(bytes.fromhex(digits))


@listed(text='{"a": [1, 2]}', gives={"a": [1, 2]})
def parse_json(text: str) -> Any:
    """Read JSON."""
    return json.loads(text)


@listed(number="4539578763621486", gives=True)
def is_card_number(number: str) -> bool:
    """Check the number of a credit card (Luhn)."""
    digits = [int(each) for each in number if each.isdigit()][::-1]
    return bool(digits) and sum(n if i % 2 == 0 else sum(divmod(2 * n, 10)) for i, n in enumerate(digits)) % 10 == 0


@listed(isbn="978-3-16-148410-0", gives=True)
def is_isbn(isbn: str) -> bool:
    """Check the ISBN-13 of a book."""
    digits = [int(each) for each in isbn if each.isdigit()]
    return len(digits) == 13 and sum(n * (3 if i % 2 else 1) for i, n in enumerate(digits)) % 10 == 0
