"""The ordered structures under everything that waits."""

from __future__ import annotations

import random

from services.scheduler.core.queue import Indexed, Ordered


def drain(ordered: Ordered) -> list[str]:
    taken = []
    while (head := ordered.head()) is not None:
        ordered.discard(head[1])
        taken.append(head[1])
    return taken


def filled(**keys: int) -> Ordered:
    ordered = Ordered()
    for item, key in keys.items():
        ordered.put(item, (key,))
    return ordered


def test_the_smallest_key_comes_first_and_equal_keys_in_the_order_they_were_put():
    ordered = filled(c=2, b=1, a=2)
    assert ordered.head() == ((1,), "b")
    assert drain(ordered) == ["b", "c", "a"]
    assert ordered.head() is None


def test_an_item_moves_to_its_new_key():
    ordered = filled(a=1, b=2)
    ordered.put("a", (3,))
    assert len(ordered) == 2
    assert drain(ordered) == ["b", "a"]


def test_an_item_that_was_taken_out_does_not_come_back():
    ordered = filled(a=1, b=2)
    ordered.discard("a")
    ordered.discard("never there")
    assert "a" not in ordered
    assert "b" in ordered
    assert drain(ordered) == ["b"]


def test_an_item_may_go_in_again_under_its_old_key():
    ordered = filled(a=1)
    ordered.discard("a")
    ordered.put("a", (1,))
    ordered.put("a", (1,))
    assert ordered.items() == [((1,), "a")]
    assert drain(ordered) == ["a"]


def test_memory_is_bounded_by_what_is_in_it_not_by_what_was():
    ordered = filled(a=0, b=1)
    for key in range(10_000):
        ordered.put("b", (key,))
    assert len(ordered._heap) < 100
    assert drain(ordered) == ["a", "b"]


def test_it_agrees_with_sorting():
    generator = random.Random(5)
    ordered, truth = Ordered(), {}
    for _ in range(3_000):
        item = generator.randrange(40)
        if generator.random() < 0.3:
            ordered.discard(item)
            truth.pop(item, None)
        else:
            truth[item] = (generator.randrange(20), item)
            ordered.put(item, truth[item])
        head = ordered.head()
        assert (None if head is None else head[0]) == min(truth.values(), default=None)
    assert drain(ordered) == [item for _, item in sorted(truth.values())]


def test_the_indexed_one_knows_every_place():
    generator = random.Random(6)
    indexed, truth = Indexed(), {}
    assert indexed.head() is None
    for _ in range(1_000):
        item = generator.randrange(40)
        if generator.random() < 0.3:
            indexed.discard(item)
            truth.pop(item, None)
        else:
            truth[item] = (generator.randrange(20), item)
            indexed.put(item, truth[item])
        expected = sorted((key, one) for one, key in truth.items())
        assert indexed.items() == [indexed.at(place) for place in range(len(indexed))] == expected
        assert indexed.head() == (expected[0] if expected else None)
