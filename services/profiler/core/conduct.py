"""How an application's jobs agree with the profile in force: its drift, and how good beliefs about its jobs were.

The rules of the live profiler and, by `renewal`, of simulations. A history has all jobs in the order in which they
ended, so a change is a place in it: what is older is not learned from any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

from services.profiler.core import schedule, scoring
from services.profiler.core.belief import Beliefs
from services.profiler.core.drift import HEIGHT, LEAST_SCORES, Chart, Expected, Monitor, Scores, recent
from services.profiler.core.gittins import uniforms
from services.profiler.core.trace import TraceJob
from services.profiler.core.variables import completed, course

Job = TypeVar("Job")

#: Jobs whose beliefs are kept in mind.
NEWEST = 100
#: Beliefs scored of each job: at arrival, and at moments evenly along its course.
MOMENTS = 5
SAMPLES = 200


class Outcome(NamedTuple):
    """What became of the beliefs about one job, or about several."""

    beliefs: int  #: how many were scored
    error: float  #: sum of the absolute errors of their means, seconds
    crps: float  #: sum, seconds
    inside: tuple[int, ...]  #: how many lay in each central interval, by `scoring.LEVELS`

    def plus(self, other: Outcome) -> Outcome:
        inside = tuple(one + more for one, more in zip(self.inside, other.inside, strict=True))
        return Outcome(self.beliefs + other.beliefs, self.error + other.error, self.crps + other.crps, inside)


_NONE = Outcome(0, 0.0, 0.0, (0,) * len(scoring.LEVELS))


def outcome(beliefs: Beliefs, job: TraceJob) -> Outcome | None:
    """What became of the beliefs along the course of a finished job. None: there were none."""
    over = beliefs.of(completed(job))
    if over is None:
        return None
    count = len(job.stages)
    moments = {place * count // MOMENTS for place in range(MOMENTS)}
    found = scoring.Calibration()
    for place, seen in enumerate(course(job)):
        if place in moments:
            belief = beliefs.of(seen)
            assert belief is not None  # its application has a profile
            samples = belief.samples(uniforms(SAMPLES, belief.draws, 0)).sum(axis=1)
            found.add(samples, max(0.0, over.spent - belief.spent), belief.expected.total)
    return Outcome(found.count, found.error_sum, found.crps_sum, tuple(found.inside))


#: Without scores to expect there is no alarm.
_UNWATCHED = Monitor(expected=Expected())


@dataclass(frozen=True, slots=True, kw_only=True)
class Conduct:
    """Of one application. A value: `finished`, `answered` and `renewed` give the next."""

    monitor: Monitor = _UNWATCHED
    begin: int = 0  #: jobs that the history had ever got before the last change that was dealt with
    alarms: int = 0  #: changes that were noticed, ever
    alarmed_at: float | None = None  #: seconds since the epoch: the last alarm
    widened: bool = False  #: of an alarm: whether the profile in force has been widened
    outcomes: tuple[Outcome, ...] = ()  #: of the newest jobs, oldest first

    @property
    def outcome(self) -> Outcome:
        """Of the newest jobs together."""
        found = _NONE
        for one in self.outcomes:
            found = found.plus(one)
        return found

    @property
    def height(self) -> float:
        """Of the highest chart, as a share of what raises the alarm."""
        return max(chart.sum for chart in self.monitor.charts) / HEIGHT

    @property
    def watched(self) -> bool:
        """Whether the profile was learned from enough jobs to notice a change."""
        return len(self.monitor.expected.likelihood) >= LEAST_SCORES

    @property
    def to_widen(self) -> bool:
        """Whether there is an alarm that nothing was done about yet."""
        return self.monitor.alarm and not self.widened

    def finished(self, scores: Scores, outcome: Outcome | None, at: float) -> Conduct:
        """With one more job, that ended well."""
        after = self.monitor.after(scores)
        outcomes = self.outcomes if outcome is None else (*self.outcomes, outcome)[-NEWEST:]
        raised = after.alarm and not self.monitor.alarm
        return replace(
            self,
            monitor=after,
            alarms=self.alarms + raised,
            alarmed_at=at if raised else self.alarmed_at,
            outcomes=outcomes,
        )

    def answered(self) -> Conduct:
        """The profile in force has been widened."""
        return replace(self, widened=True)

    def renewed(self, expected: Expected, begin: int) -> Conduct:
        """A profile was learned, of jobs behind this place (`since`)."""
        # What speaks for a change so far is kept, but for a change that has been dealt with.
        monitor = Monitor(expected=expected) if self.monitor.alarm else replace(self.monitor, expected=expected)
        return replace(self, monitor=monitor, begin=begin, widened=False)

    def since(self, added: int) -> int:
        """How many jobs the history had ever got before those to learn from, now that it has ever got so many."""
        changed = self.monitor.changed
        return self.begin if changed is None else max(self.begin, added - changed)

    def due(self, added: int, learned: int, kept: int) -> bool:
        """Whether a profile should be learned by itself. Arguments as in `schedule.due`."""
        if self.monitor.suspicious and not self.monitor.alarm:
            return False  # it would be of old and new jobs, and fit neither
        since = self.since(added)
        return schedule.due(added - since, max(0, learned - since), min(kept, added - since))

    def next_in(self, added: int, learned: int, kept: int) -> int:
        """At how many jobs since `learned` (but for those before a change) the next profile is due."""
        since = self.since(added)
        known = max(0, learned - since)
        return schedule.next_at(known, min(kept, added - since)) - known

    def to_learn_from(self, jobs: Sequence[Job], added: int) -> list[Job]:
        """What of a history to learn from; `jobs` are those kept, oldest first, of so many that it ever got."""
        changed = self.monitor.changed
        if changed is not None:
            return recent(jobs, changed)
        return list(jobs[max(0, len(jobs) - (added - self.begin)) :])

    def plain(self) -> dict[str, Any]:
        """All but the expected scores, as numbers and lists."""
        return {
            "charts": [[chart.sum, chart.length] for chart in self.monitor.charts],
            "changed": self.monitor.changed,
            "begin": self.begin,
            "alarms": self.alarms,
            "alarmed_at": self.alarmed_at,
            "widened": self.widened,
            "outcomes": [list(one) for one in self.outcomes],
        }

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any], expected: Expected) -> Conduct:
        """The inverse of `plain`. Raises KeyError, TypeError or ValueError if it is none."""
        charts = tuple(Chart(sum=total, length=length) for total, length in plain["charts"])
        return cls(
            monitor=Monitor(expected=expected, charts=charts, changed=plain["changed"]),
            begin=plain["begin"],
            alarms=plain["alarms"],
            alarmed_at=plain["alarmed_at"],
            widened=plain["widened"],
            outcomes=tuple(
                Outcome(beliefs, error, crps, tuple(inside)) for beliefs, error, crps, inside in plain["outcomes"]
            ),
        )
