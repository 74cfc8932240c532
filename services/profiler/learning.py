"""When profiles are learned, and how they become the newest: by themselves as histories grow, or because somebody asks.

One at a time, since each wants a core of its own. When an application has changed, its profile is widened at once, and
learned anew as soon as there are enough jobs since the change (`services.profiler.core.conduct`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from services.common.clock import Clock
from services.common.logs import get_logger
from services.profiler.conducts import Conducts
from services.profiler.core.conduct import Conduct
from services.profiler.core.drift import Expected
from services.profiler.core.packing import ENCODING, UnknownEncoding, pack, unpack
from services.profiler.core.renewal import doubted
from services.profiler.core.statistics import WorkModel
from services.profiler.history import read_all
from services.profiler.instruments import Instruments
from services.profiler.learner import Learned, Learner, LearningFailed
from services.profiler.refusals import learning_failed, no_history, request_id_reused
from services.profiler.scores import read_expected, write_conduct
from services.state.port import ProfileStore
from services.state.records import Leader, ProfileRecord

_log = get_logger(__name__)

HISTORY, REQUEST, DRIFT = "history", "request", "drift"  #: triggers


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What a profile is to be learned from."""

    version: int
    lines: Sequence[bytes]
    added: int  #: jobs that the history had ever got by then
    conduct: Conduct  #: of the application then


class Learning:
    """Of one leading profiler."""

    def __init__(
        self,
        store: ProfileStore,
        leader: Leader,
        *,
        learner: Learner,
        work: WorkModel,
        clock: Clock,
        instruments: Instruments,
        conducts: Conducts,
        published: Callable[[ProfileRecord], None],
    ) -> None:
        """`published` is called with each profile that has become the newest, and at first with those that are it."""
        self._store = store
        self._leader = leader
        self._learner = learner
        self._work = work
        self._clock = clock
        self._instruments = instruments
        self._conducts = conducts
        self._published = published
        self._asked: dict[str, str] = {}  #: applications to learn as soon as possible, with the trigger
        self._grown = asyncio.Event()
        self._alarmed = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        #: Jobs ever added when a profile was last learned, or could not be: it would fail for the same jobs again.
        self._learned: dict[str, int] = {}
        self._requests: dict[str, asyncio.Task[ProfileRecord]] = {}

    def grown(self) -> None:
        """Histories have got jobs."""
        self._grown.set()

    def alarmed(self) -> None:
        """Applications have changed."""
        self._alarmed.set()

    def ask(self, application: str, trigger: str) -> None:
        """Has a profile learned as soon as possible, whether or not the history has grown enough."""
        self._asked[application] = trigger
        self._grown.set()

    async def begin(self) -> None:
        """Takes up what earlier leaders have learned. Raises StateUnavailable."""
        conducts = await self._store.conduct()
        for application, version in (await self._store.newest_profiles()).items():
            newest = await self._store.get_profile(application, version)
            if newest is not None:
                self._conducts.load(newest, conducts.get(application))
                self._learned[application] = newest.added
                self._published(newest)

    async def run(self) -> NoReturn:
        """Learns what is due for as long as this profiler leads. Raises LeadershipLost, CommitGap, StateUnavailable."""
        while True:
            self._grown.clear()
            for application, added in sorted((await self._store.histories()).items()):
                trigger = self._asked.pop(application, HISTORY)
                kept = await self._store.count_history(application)
                learned, conduct = self._learned.get(application, 0), self._conducts.of(application)
                if trigger != HISTORY or conduct.due(added, learned, kept):
                    await self._learn_if_possible(application, trigger)
            await self._grown.wait()

    async def train(self, application: str, request_id: str) -> ProfileRecord:
        """Learns at once. Goes on when the caller does not, so that a repeat finds something done.

        Raises FAILED_PRECONDITION/NO_HISTORY, ALREADY_EXISTS/REQUEST_ID_REUSED, INTERNAL/LEARNING_FAILED.
        """
        name = request_id or f"{id(asyncio.current_task())}"
        task = self._requests.get(name)
        if task is None:
            task = asyncio.create_task(self._train(application, request_id), name=f"train({application})")
            self._requests[name] = task
            task.add_done_callback(lambda done: self._forget(name, done))
        profile = await asyncio.shield(task)
        if profile.application != application:
            raise request_id_reused(request_id)
        return profile

    async def aclose(self) -> None:
        """Ends what was asked for."""
        tasks = list(self._requests.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _train(self, application: str, request_id: str) -> ProfileRecord:
        if (known := await self._known(application, request_id)) is not None:
            return known
        try:
            profile = await self._learn(application, REQUEST, request_id)
        except LearningFailed as error:
            raise learning_failed(application, str(error)) from error
        assert profile is not None  # only what is due by itself is given up
        return profile

    async def _known(self, application: str, request_id: str) -> ProfileRecord | None:
        """What this request has led to, if that is still kept."""
        trained = await self._store.trained(request_id) if request_id else None
        if trained is None:
            return None
        if trained[0] != application:
            raise request_id_reused(request_id)
        return await self._store.get_profile(*trained)

    def _forget(self, name: str, done: asyncio.Task[ProfileRecord]) -> None:
        del self._requests[name]
        if not done.cancelled():
            done.exception()  # the caller may be gone, and then nobody else would look at it

    async def _learn_if_possible(self, application: str, trigger: str) -> None:
        try:
            await self._learn(application, trigger)
        except LearningFailed as error:
            _log.error("profile not learned", action="learning_failed", application=application, error=str(error))

    async def _learn(self, application: str, trigger: str, request_id: str = "") -> ProfileRecord | None:
        """None: it is not due any more, as the application has changed meanwhile."""
        async with self._one_at_a_time:
            while True:
                async with self._conducts.lock:
                    plan = await self._plan(application)
                learned = await self._learner.learn(plan.lines, version=plan.version, work=self._work)
                async with self._conducts.lock:
                    profile = await self._accept(application, plan, learned, trigger, request_id)
                if profile is not None or trigger == HISTORY:
                    return profile

    async def _plan(self, application: str) -> _Plan:
        added = (await self._store.histories()).get(application, 0)
        kept = await read_all(self._store, application)
        if not kept:
            raise no_history(application)
        version = (await self._store.newest_profiles()).get(application, 0) + 1
        self._learned[application] = added
        conduct = self._conducts.of(application)
        lines = conduct.to_learn_from(kept, added) or kept[-1:]
        return _Plan(version=version, lines=lines, added=added, conduct=conduct)

    async def _accept(
        self, application: str, plan: _Plan, learned: Learned, trigger: str, request_id: str
    ) -> ProfileRecord | None:
        """Publishes what was learned. None: an alarm was raised meanwhile, and it is of old and new jobs."""
        now, changed = self._conducts.of(application), plan.conduct.monitor.alarm
        newest = (await self._store.newest_profiles()).get(application, 0)
        if now.monitor.alarm != changed or newest + 1 != plan.version:
            return None
        profile = ProfileRecord(
            application=application,
            version=plan.version,
            jobs=learned.jobs,
            added=plan.added,
            created_at=self._clock.now(),
            learn_seconds=learned.seconds,
            trigger=DRIFT if changed and trigger == HISTORY else trigger,
            compiled=learned.compiled,
            encoding=ENCODING,
            variables=learned.variables,
            expected=learned.expected,
        )
        known = read_expected(learned.expected)
        expected = Expected() if known is None else known[0]
        await self._publish(profile, now.renewed(expected, plan.conduct.since(plan.added)), request_id)
        return profile

    async def widen(self) -> NoReturn:
        """Widens the profiles of applications that have changed. Raises LeadershipLost, CommitGap, StateUnavailable."""
        while True:
            self._alarmed.clear()
            for application in self._conducts.to_widen():
                async with self._conducts.lock:
                    await self._widen(application)
            await self._alarmed.wait()

    async def _widen(self, application: str) -> None:
        conduct = self._conducts.of(application)
        newest = await self._store.get_profile(application, (await self._store.newest_profiles()).get(application, 0))
        if newest is None or not conduct.to_widen:
            return
        try:
            wide = doubted(unpack(newest.compiled, newest.encoding))
        except UnknownEncoding as error:
            _log.error("profile not widened", action="profile_unreadable", application=application, error=str(error))
            return
        added = (await self._store.histories()).get(application, 0)
        profile = replace(
            newest,
            version=wide.version,
            added=conduct.since(added),
            created_at=self._clock.now(),
            learn_seconds=0.0,
            trigger=DRIFT,
            compiled=pack(wide),
            encoding=ENCODING,
        )
        await self._publish(profile, conduct.answered())
        self.grown()

    async def _publish(self, profile: ProfileRecord, conduct: Conduct, request_id: str = "") -> None:
        await self._store.publish(self._leader, profile, request_id=request_id, conduct=write_conduct(conduct))
        self._conducts.published(profile, conduct)
        self._instruments.published(profile)
        self._published(profile)
        _log.info(
            "profile published",
            action="profile_published",
            application=profile.application,
            version=profile.version,
            jobs=profile.jobs,
            variables=profile.variables,
            seconds=round(profile.learn_seconds, 3),
            trigger=profile.trigger,
        )
