"""Functions on lists of words or numbers."""

from __future__ import annotations

from collections import Counter

from llmsched.applications.taskmatrix.catalogue.define import listed

Item = float | str


@listed(items=["pear", "fig", "apple"], gives=["apple", "fig", "pear"])
def sort_words(items: list[str]) -> list[str]:
    """Sort words in alphabetical order."""
    return sorted(items, key=str.lower)


@listed(numbers=[3, 1, 2], gives=[1, 2, 3])
def sort_numbers(numbers: list[float]) -> list[float]:
    """Sort numbers in ascending order."""
    return sorted(numbers)


@listed(items=["a", "b", "c"], gives=["c", "b", "a"])
def reverse_list(items: list[Item]) -> list[Item]:
    """Reverse the order of a list."""
    return items[::-1]


@listed(items=["a", "b", "a"], gives=["a", "b"])
def unique(items: list[Item]) -> list[Item]:
    """Remove duplicates of a list."""
    return list(dict.fromkeys(items))


@listed(items=["a", "b"], gives=2)
def count_items(items: list[Item]) -> int:
    """Count the items of a list."""
    return len(items)


@listed(items=["a", "b", "a"], item="a", gives=2)
def count_item(items: list[Item], item: Item) -> int:
    """Count how often an item occurs in a list."""
    return items.count(item)


@listed(first=["a", "b"], second=["b", "c"], gives=["b"])
def common(first: list[Item], second: list[Item]) -> list[Item]:
    """List what two lists have in common: their intersection."""
    return [item for item in dict.fromkeys(first) if item in second]


@listed(first=["a", "b"], second=["b", "c"], gives=["a", "b", "c"])
def union(first: list[Item], second: list[Item]) -> list[Item]:
    """Merge two lists without duplicates: their union."""
    return list(dict.fromkeys([*first, *second]))


@listed(first=["a", "b"], second=["b", "c"], gives=["a"])
def difference(first: list[Item], second: list[Item]) -> list[Item]:
    """List what a list has and another has not: their difference."""
    return [item for item in first if item not in second]


@listed(items=["a", "b", "a"], gives={"a": 2, "b": 1})
def frequencies(items: list[str]) -> dict[str, int]:
    """Count how often each item of a list occurs: frequencies."""
    return dict(Counter(items).most_common())


@listed(items=["a", "b", "c"], count=2, gives=["a", "b"])
def first_items(items: list[Item], count: int) -> list[Item]:
    """Take the first items of a list."""
    return items[: max(count, 0)]


@listed(items=["a", "b", "c"], count=2, gives=["b", "c"])
def last_items(items: list[Item], count: int) -> list[Item]:
    """Take the last items of a list."""
    return items[-count:] if count > 0 else []


@listed(items=["red", "blue"], separator=" and ", gives="red and blue")
def join(items: list[str], separator: str = ", ") -> str:
    """Join the items of a list to one text."""
    return separator.join(items)


@listed(items=[1, 2, 3, 4, 5], size=2, gives=[[1, 2], [3, 4], [5]])
def groups_of(items: list[Item], size: int) -> list[list[Item]]:
    """Split a list into groups of a size."""
    if size < 1:
        raise ValueError("a group has at least one item")
    return [items[start : start + size] for start in range(0, len(items), size)]


@listed(start=1, end=4, gives=[1, 2, 3, 4])
def count_up(start: int, end: int) -> list[int]:
    """List the whole numbers from a start to an end."""
    if end - start > 1000:
        raise ValueError("at most 1001 numbers")
    return list(range(start, end + 1))
