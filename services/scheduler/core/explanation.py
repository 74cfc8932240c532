"""Why the stages of a job run or wait: the policy's numbers, what stands before them, and what would change it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from services.scheduler.core.model import PolicySettings
from services.scheduler.core.policies.base import Candidate, DrawingPolicy, ExploringPolicy, JobView, Policy
from services.scheduler.core.policies.explaining import ENDING, BelievingPolicy, Figure, Part, figures, parts, told
from services.scheduler.core.views import ExecutorView, QueueEntry

#: Stages before one that are told.
MOST = 10

WAITS = Part("ageing_in", "ageing puts it first in", "s")
CHANCE = Part("chance", "chance at each decision")
BELOW = Part("below", "what its key would have to fall below", "s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """A stage that goes before another."""

    job_id: str
    application: str
    stage_id: str
    part: Part  #: the first part of their keys in which they differ
    by: float  #: how much smaller it is there; 0: it goes by age


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something that would change a stage's place."""

    text: str
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReasons:
    stage_id: str
    rank: int  #: in the whole queue, from 0
    place: int  #: among those that compete for the same slots, from 0
    figures: tuple[Figure, ...]  #: its key, and what else the policy goes by
    before: tuple[Before, ...]  #: the first of those that compete for the same slots, in their order
    jobs_before: int
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReasons:
    figures: tuple[Figure, ...]  #: what is believed of it; empty without a profile, or if the policy does not mind
    stages: tuple[StageReasons, ...]  #: those with tasks that wait, in the order of the queue


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What the machine shows at one moment."""

    policy: Policy
    settings: PolicySettings
    queue: Sequence[QueueEntry]  #: as of `at`
    executors: Sequence[ExecutorView]
    at: float  #: seconds


def explain(job: JobView, now: Situation) -> JobReasons:
    """Why the job's stages stand where they stand."""
    policy = now.policy
    ranks = [rank for rank, entry in enumerate(now.queue) if entry.job.job_id == job.job_id]
    return JobReasons(
        figures=tuple(policy.job_figures(job)) if isinstance(policy, BelievingPolicy) else (),
        stages=tuple(_stage(rank, now) for rank in ranks),
    )


def key_figures(entry: QueueEntry, policy: Policy) -> tuple[Figure, ...]:
    """The numbers of a waiting stage's key."""
    return figures(entry.key, parts(policy, entry.job, entry.stage))


def in_words(entry: QueueEntry, policy: Policy, at: float) -> str:
    """Why it has its place, in a few words."""
    if entry.rule == "ageing":
        return f"it has waited longer than the ageing limit: {at - entry.stage.ready_at:.1f} s"
    found = key_figures(entry, policy)
    return f"{found[0].part.label}: {told(found[0], at)}" if found else "by the policy's key"


def competing(entry: QueueEntry, now: Situation) -> tuple[list[QueueEntry], list[QueueEntry]]:
    """The stages before it, and those from it on, that could take a slot that it could take."""
    able = [one for one in now.executors if entry.requirement in one.offers]
    rivals = [one for one in now.queue if one is entry or any(one.requirement in other.offers for other in able)]
    place = next(place for place, one in enumerate(rivals) if one is entry)
    return rivals[:place], rivals[place:]


def _stage(rank: int, now: Situation) -> StageReasons:
    entry = now.queue[rank]
    ahead, others = competing(entry, now)
    policy = now.policy
    more = policy.stage_figures(entry.job, entry.stage) if isinstance(policy, BelievingPolicy) else ()
    return StageReasons(
        stage_id=entry.stage.stage_id,
        rank=rank,
        place=len(ahead),
        figures=(*key_figures(entry, policy), *more),
        before=tuple(_before(one, entry, policy) for one in ahead[:MOST]),
        jobs_before=len({one.job.job_id for one in ahead} - {entry.job.job_id}),
        changes=tuple(_changes(entry, ahead, others, now)),
    )


def _before(one: QueueEntry, entry: QueueEntry, policy: Policy) -> Before:
    part, by = ENDING[0], 0.0
    comparable = one.rule == entry.rule == "policy" and not isinstance(policy, DrawingPolicy)
    if comparable and (found := _difference(one, entry, policy)) is not None:
        mine, other = found
        part, by = mine.part, mine.value - other.value
    return Before(job_id=one.job.job_id, application=one.job.application, stage_id=one.stage.stage_id, part=part, by=by)


def _difference(one: QueueEntry, entry: QueueEntry, policy: Policy) -> tuple[Figure, Figure] | None:
    """The first numbers of their keys in which they differ: the entry's, and the other one's."""
    pairs = zip(key_figures(entry, policy), key_figures(one, policy), strict=False)
    return next(((mine, other) for mine, other in pairs if mine.value != other.value), None)


def _changes(
    entry: QueueEntry, ahead: Sequence[QueueEntry], others: Sequence[QueueEntry], now: Situation
) -> Iterator[Change]:
    if not any(entry.requirement in one.offers for one in now.executors):
        yield Change(text=f"an executor that offers {entry.requirement} would have to attach")
        return
    if isinstance(now.policy, DrawingPolicy) and entry.rule == "policy":
        chance = Figure(CHANCE, 1.0 / (len(ahead) + len(others)))
        yield Change(text=f"is drawn with a chance of {chance.value:.2g} whenever a slot is free", figures=(chance,))
    else:
        yield _turn(entry, ahead)
        yield from _key_change(entry, ahead, now)
    if isinstance(now.policy, ExploringPolicy) and entry.rule == "policy":
        yield from _exploring(entry, ahead, others, now.policy)
    yield from _ageing(entry, now)
    if isinstance(now.policy, BelievingPolicy) and not now.policy.job_figures(entry.job):
        yield Change(text=f"a profile of {entry.job.application} would rank it by what is expected of it")


def _turn(entry: QueueEntry, ahead: Sequence[QueueEntry]) -> Change:
    jobs = len({one.job.job_id for one in ahead} - {entry.job.job_id})
    if not ahead:
        return Change(text=f"goes next: as soon as a slot for {entry.requirement} is free")
    stages = "1 stage" if len(ahead) == 1 else f"{len(ahead)} stages"
    whose = "its own job" if not jobs else "1 job" if jobs == 1 else f"{jobs} jobs"
    return Change(text=f"goes next when {stages} of {whose} before it have got their slots, or end")


def _key_change(entry: QueueEntry, ahead: Collection[QueueEntry], now: Situation) -> Iterator[Change]:
    """What its key would have to be to stand first, if that can still change."""
    first = next((one for one in ahead if one.rule == "policy" and one.job is not entry.job), None)
    found = None if first is None or entry.rule == "ageing" else _difference(first, entry, now.policy)
    if found is not None and found[0].part not in ENDING:
        mine, other = found
        name, _, _ = mine.part.label.partition(":")
        text = f"goes first if its {name} falls below {told(other, now.at)}; now {told(mine, now.at)}"
        yield Change(text=text, figures=(Figure(BELOW._replace(unit=mine.part.unit), other.value),))


def _exploring(
    entry: QueueEntry, ahead: Sequence[QueueEntry], others: Sequence[QueueEntry], policy: ExploringPolicy
) -> Iterator[Change]:
    everybody = (*ahead, *others)
    found = policy.explore([Candidate(one.job, one.stage, one.stage.width - one.waiting_tasks) for one in everybody])
    chance = Figure(CHANCE, policy.chance)
    if found is None or policy.chance <= 0.0:
        return
    best = everybody[found[0]]
    if best is entry and ahead:
        text = f"goes next with a chance of {policy.chance:.2g} at each decision, as its end tells most of other stages"
        yield Change(text=text, figures=(chance,))
    elif best is not entry and not ahead:
        other = f"stage {best.stage.stage_id} of job {best.job.job_id}"
        text = f"is passed over with a chance of {policy.chance:.2g} at each decision, for {other}, which tells more"
        yield Change(text=text, figures=(chance,))


def _ageing(entry: QueueEntry, now: Situation) -> Iterator[Change]:
    limit = now.settings.ageing_seconds
    if limit is not None and entry.rule == "policy":
        left = Figure(WAITS, max(0.0, entry.stage.ready_at + limit - now.at))
        yield Change(text=f"ageing puts it before all younger ones in {told(left, now.at)}", figures=(left,))
