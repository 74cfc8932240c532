"""Goals of one to three parts, each of which a function of the catalogue can do."""

from __future__ import annotations

from random import Random
from typing import Any

_WORDS = ("lighthouse", "banana", "level", "mountain river", "silent listen", "open source software", "Education")
_PARTS = (
    "convert {n} miles to kilometres",
    "convert {n} degrees Celsius to Fahrenheit",
    "convert {n} pounds to kilograms",
    "convert {n} inches to centimetres",
    "find the day of the week of {day}",
    "count the days between {day} and {later}",
    "add {n} days to {day}",
    "tell whether {year} is a leap year",
    "give the date of Easter in {year}",
    "compute the mean of {numbers}",
    "find the median of {numbers}",
    "sort the numbers {numbers}",
    "find the largest of {numbers}",
    "list the prime factors of {n}",
    "write {n} in Roman numerals",
    "write {n} in binary digits",
    "spell {n} in English words",
    "compute {m} percent of {n}",
    "reverse the text {words}",
    "count the vowels of {words}",
    "write {words} in capital letters",
    "encode {words} in Base64",
    "write {words} in Morse code",
    "make the acronym of {words}",
    "compute the area of a circle of radius {m}",
    "compute a price of {n} after a discount of {m} percent",
    "split a bill of {n} among {m} people",
    "compute what {n} become with {m} percent compound interest in 3 years",
)
_JOINTS = (" and ", ", then ", "; also ")


def make_input(random: Random) -> dict[str, Any]:
    """A goal; more parts are rarer."""
    count = random.choice((1, 1, 2, 2, 3))
    parts = [_filled(template, random) for template in random.sample(_PARTS, count)]
    text = random.choice(_JOINTS).join(parts)
    return {"goal": f"{text[0].upper()}{text[1:]}."}


def _filled(template: str, random: Random) -> str:
    year = random.randint(1990, 2030)
    return template.format(
        n=random.randint(20, 3000),
        m=random.randint(2, 19),
        year=year,
        day=f"{year}-{random.randint(1, 12):02}-{random.randint(1, 28):02}",
        later=f"{year + random.randint(1, 4)}-{random.randint(1, 12):02}-{random.randint(1, 28):02}",
        numbers=", ".join(str(random.randint(1, 99)) for _ in range(random.randint(3, 6))),
        words=random.choice(_WORDS),
    )
