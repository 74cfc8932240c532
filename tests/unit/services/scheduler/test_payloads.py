from __future__ import annotations

from services.scheduler.payloads import PayloadCache


def test_a_payload_is_given_out_once() -> None:
    cache = PayloadCache(limit_bytes=100)
    cache.put("job", {("a", 0): b"12345"})
    assert cache.take("job", ("a", 0)) == b"12345"
    assert cache.take("job", ("a", 0)) is None
    assert cache.take("nobody", ("a", 0)) is None
    assert cache.size_bytes == 0


def test_beyond_the_limit_the_oldest_jobs_are_dropped() -> None:
    cache = PayloadCache(limit_bytes=10)
    cache.put("first", {("a", 0): b"1234"})
    cache.put("second", {("a", 0): b"1234"})
    cache.put("first", {("b", 0): b"1234"})
    assert cache.take("second", ("a", 0)) is None
    assert cache.take("first", ("a", 0)) == b"1234"
    assert cache.size_bytes == 4


def test_the_size_is_right_when_a_payload_is_replaced_or_its_job_ends() -> None:
    cache = PayloadCache(limit_bytes=100)
    cache.put("job", {("a", 0): b"1234", ("a", 1): b"12"})
    cache.put("job", {("a", 0): b"1"})
    assert cache.size_bytes == 3
    cache.drop("job")
    cache.drop("job")
    assert cache.size_bytes == 0


def test_a_payload_larger_than_the_limit_is_not_kept() -> None:
    cache = PayloadCache(limit_bytes=3)
    cache.put("job", {("a", 0): b"1234"})
    assert cache.take("job", ("a", 0)) is None
