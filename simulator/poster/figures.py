"""The poster's Figure 1 in our model: how long code generation turns out, and how much task automation plans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.common.drawing import Drawing, Scale
from services.profiler.core.trace import TraceJob

_STYLE = (
    ".chart{font:12px system-ui,-apple-system,'Segoe UI',sans-serif}.paper{fill:#fff}text{fill:#5f6670}"
    ".title{fill:#22262b;font-weight:600}.mid{text-anchor:middle}.end{text-anchor:end}"
    ".grid{stroke:#e3e1dc}.axis{stroke:#5f6670}.bar{fill:#0072b2}"
)
_BAR = 40  #: characters of the longest bar in a text


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How many jobs have how many stages of some sort."""

    name: str  #: of the file
    title: str
    axis: str
    counts: Mapping[int, int]  #: jobs by number of stages, from the smallest to the largest of the axis

    @property
    def shares(self) -> dict[int, float]:
        total = sum(self.counts.values()) or 1
        return {number: count / total for number, count in self.counts.items()}

    def text(self) -> str:
        """Bars for a terminal."""
        longest = max(self.shares.values(), default=0.0) or 1.0
        rows = [
            f"{number:4d}  {'█' * round(share / longest * _BAR):<{_BAR}} {share:6.1%}"
            for number, share in self.shares.items()
        ]
        return "\n".join([self.title, *(row.rstrip() for row in rows)])

    def svg(self) -> str:
        """A picture of its own."""
        left, right, top, bottom = 44.0, 452.0, 30.0, 210.0
        picture = Drawing(460.0, 250.0, self.title)
        share = Scale(0.0, max(self.shares.values(), default=0.0) or 1.0, bottom, top)
        picture.text("title", 0, 14, self.title)
        for tick in share.ticks():
            picture.line("grid", left, share(tick), right, share(tick))
            picture.text("end", left - 6, share(tick) + 4, f"{tick:.0%}")
        step = (right - left) / max(1, len(self.counts))
        for place, (number, height) in enumerate(self.shares.items()):
            x = left + place * step
            if height:
                picture.rect("bar", x + step * 0.12, share(height), step * 0.76, bottom - share(height))
            picture.text("mid", x + step / 2, bottom + 15, str(number))
        picture.line("axis", left, bottom, right, bottom)
        picture.text("mid", (left + right) / 2, bottom + 33, self.axis)
        return str(picture.markup(_STYLE)) + "\n"


def figures(jobs: Iterable[TraceJob]) -> tuple[Histogram, Histogram]:
    """Figure 1 (a) and (b) of these jobs."""
    lengths: Counter[int] = Counter()
    generated: Counter[int] = Counter()
    for job in jobs:
        if job.app == "code_generation":
            lengths[len(job.stages)] += 1
        elif job.app == "task_automation":
            generated[sum(stage.generated_by is not None for stage in job.stages)] += 1
    most = max(generated, default=1)
    return (
        Histogram(
            name="code_generation_chain_lengths",
            title="Length of workflows of code generation",
            axis="stages of a job",
            counts={length: lengths[length] for length in range(1, 21)},
        ),
        Histogram(
            name="task_automation_generated_stages",
            title="Stages that the model generates in task automation",
            axis="generated stages of a job",
            counts={number: generated[number] for number in range(1, most + 1)},
        ),
    )
