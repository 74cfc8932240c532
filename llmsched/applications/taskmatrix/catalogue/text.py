"""Functions on texts."""

from __future__ import annotations

import re

from llmsched.applications.taskmatrix.catalogue.define import listed

_VOWELS = "aeiouAEIOU"


@listed(text="hello", gives="HELLO")
def uppercase(text: str) -> str:
    """Write a text in capital letters, upper case."""
    return text.upper()


@listed(text="HeLLo", gives="hello")
def lowercase(text: str) -> str:
    """Write a text in small letters, lower case."""
    return text.lower()


@listed(text="the old man", gives="The Old Man")
def title_case(text: str) -> str:
    """Capitalise the first letter of each word, as in a title."""
    return " ".join(word.capitalize() for word in text.split())


@listed(text="abc", gives="cba")
def reverse(text: str) -> str:
    """Reverse a text: write its letters backwards."""
    return text[::-1]


@listed(text="one two three", gives="three two one")
def reverse_words(text: str) -> str:
    """Reverse the order of the words of a sentence."""
    return " ".join(reversed(text.split()))


@listed(text="to be or not", gives=4)
def count_words(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())


@listed(text="a b", gives=3)
def count_characters(text: str) -> int:
    """Count the characters of a text: its length."""
    return len(text)


@listed(text="Education", gives=5)
def count_vowels(text: str) -> int:
    """Count the vowels of a text."""
    return sum(letter in _VOWELS for letter in text)


@listed(text="banana", letter="a", gives=3)
def count_letter(text: str, letter: str) -> int:
    """Count how often a letter occurs in a text."""
    return text.lower().count(letter.lower()) if letter else 0


@listed(text="a cat and a dog", old="a ", new="the ", gives="the cat and the dog")
def replace(text: str, old: str, new: str) -> str:
    """Replace a piece of a text by another everywhere."""
    if not old:
        raise ValueError("there must be something to replace")
    return text.replace(old, new)


@listed(text="  too   much space ", gives="too much space")
def squeeze_spaces(text: str) -> str:
    """Remove superfluous spaces of a text."""
    return " ".join(text.split())


@listed(text="level", gives=True)
def is_palindrome(text: str) -> bool:
    """Tell whether a text is a palindrome: the same read backwards."""
    letters = [each.lower() for each in text if each.isalnum()]
    return letters == letters[::-1]


@listed(first="listen", second="silent", gives=True)
def are_anagrams(first: str, second: str) -> bool:
    """Tell whether two words are anagrams: made of the same letters."""
    return sorted(first.lower().replace(" ", "")) == sorted(second.lower().replace(" ", ""))


@listed(text="a wonderful day", gives="wonderful")
def longest_word(text: str) -> str:
    """Find the longest word of a text."""
    return max(re.findall(r"\w+", text), key=len, default="")


@listed(text="portable network graphics", gives="PNG")
def acronym(text: str) -> str:
    """Make the acronym of a phrase from the initials of its words."""
    return "".join(word[0].upper() for word in text.split())


@listed(text="Hello, World!", gives="hello-world")
def slug(text: str) -> str:
    """Make a slug for a web address from a title."""
    return "-".join(re.findall(r"[a-z0-9]+", text.lower()))


@listed(text="user name", gives="userName")
def camel_case(text: str) -> str:
    """Write words as one identifier in camel case."""
    first, *rest = re.findall(r"[A-Za-z0-9]+", text) or [""]
    return first.lower() + "".join(word.capitalize() for word in rest)


@listed(text="userName", gives="user_name")
def snake_case(text: str) -> str:
    """Write words as one identifier in snake case, with underscores."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    return "_".join(re.findall(r"[a-z0-9]+", spaced.lower()))


@listed(text="a long sentence", length=6, gives="a lon…")
def shorten(text: str, length: int) -> str:
    """Shorten a text to a length in characters."""
    return text if len(text) <= length else text[: max(length - 1, 0)] + "…"


@listed(text="Call 555 or 777 now", gives=[555, 777])
def find_numbers(text: str) -> list[int]:
    """Find all whole numbers that a text mentions."""
    return [int(digits) for digits in re.findall(r"\d+", text)]


@listed(text="Write to ann@example.org today", gives=["ann@example.org"])
def find_emails(text: str) -> list[str]:
    """Find all e-mail addresses in a text."""
    return re.findall(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", text)


@listed(text="Hi. How are you? Fine!", gives=3)
def count_sentences(text: str) -> int:
    """Count the sentences of a text."""
    return len(re.findall(r"[^.!?]+[.!?]+", text))


@listed(first="kitten", second="sitting", gives=3)
def edit_distance(first: str, second: str) -> int:
    """Compute the edit distance (Levenshtein) of two words: how many letters differ."""
    if len(first) * len(second) > 10**6:
        raise ValueError("the words are too long")
    row = list(range(len(second) + 1))
    for i, one in enumerate(first, start=1):
        before, row[0] = row[0], i
        for j, other in enumerate(second, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (one != other))
    return row[-1]


@listed(text="ab", times=3, gives="ababab")
def repeat(text: str, times: int) -> str:
    """Repeat a text several times."""
    if not 0 <= times <= 1000:
        raise ValueError("times must be from 0 to 1000")
    return text * times
