from __future__ import annotations

from typing import Any

import pytest

from services.common.clock import ManualClock
from services.state.leadership import Leadership
from services.state.memory import MemoryState
from services.state.port import LeadershipLost, StateUnavailable


class Flaky:
    """A store that is away for a while; each failed call takes a second of the clock."""

    def __init__(self, inner: MemoryState, clock: ManualClock) -> None:
        self._inner = inner
        self._clock = clock
        self.failures = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            if self.failures:
                self.failures -= 1
                self._clock.advance(1.0)
                raise StateUnavailable("away")
            return await method(*args, **kwargs)

        return call


def make(instance: str, store: Any, clock: ManualClock) -> Leadership:
    return Leadership(
        store, instance=instance, address=f"{instance}:1", ttl_seconds=3.0, renew_seconds=0.001, clock=clock
    )


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> Flaky:
    return Flaky(MemoryState(clock=clock.now), clock)


async def test_a_renewal_that_fails_for_less_than_the_lease_is_no_loss(store: Flaky, clock: ManualClock) -> None:
    leadership = make("a", store, clock)
    leader = await leadership.acquire()
    store.failures = 2
    renewed = store._inner.renew_leadership

    async def lose_later(*args: Any, **kwargs: Any) -> bool:
        await renewed(*args, **kwargs)
        return False

    store._inner.renew_leadership = lose_later  # type: ignore[method-assign]
    with pytest.raises(LeadershipLost, match="another process leads"):
        await leadership.hold(leader)
    assert store.failures == 0


async def test_a_lead_that_cannot_be_renewed_in_time_counts_as_lost(store: Flaky, clock: ManualClock) -> None:
    leadership = make("a", store, clock)
    leader = await leadership.acquire()
    store.failures = 10
    with pytest.raises(LeadershipLost, match="in time"):
        await leadership.hold(leader)
    # It gave up when its own clock said that the lease had ended, not when the store came back.
    assert store.failures == 7


async def test_the_second_waits_for_the_first_and_knows_who_leads(store: Flaky, clock: ManualClock) -> None:
    first, second = make("a", store, clock), make("b", store, clock)
    leader = await first.acquire()
    assert await store.acquire_leadership(instance="b", address="b:1", ttl=3.0) is None
    await first.release(leader)
    assert first.known_leader is None
    following = await second.acquire()
    assert following.epoch > leader.epoch
    assert second.known_leader == following
    with pytest.raises(LeadershipLost):
        await first.hold(leader)


async def test_a_store_that_is_away_is_waited_for(store: Flaky, clock: ManualClock) -> None:
    store.failures = 5
    assert (await make("a", store, clock).acquire()).instance == "a"


async def test_giving_up_the_lead_never_fails(store: Flaky, clock: ManualClock) -> None:
    leadership = make("a", store, clock)
    leader = await leadership.acquire()
    store.failures = 1
    await leadership.release(leader)
