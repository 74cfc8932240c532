"""The results of an experiment: a page, tables, JSON, in the look of `llmsched compare`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import fmean

from experiment.agreement import Agreement, measured
from experiment.charts import engines_over_time
from experiment.config import Config
from experiment.provenance import facts
from experiment.results import compared, interval, tokens
from experiment.store import WARM_UP, Phase, Store, write_atomically
from simulator.compare.files import as_json, write_runs, write_table
from simulator.compare.palette import style
from simulator.compare.report import Report, Section, drawings, ranking, render
from simulator.compare.study import StudyRun
from simulator.compare.summary import RESAMPLES, Cell

#: What `write` makes, besides charts.
FILES = ("report.html", "table.csv", "table.md", "results.csv", "results.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All that a report is made of."""

    config: Config
    phases: Sequence[Phase]
    cell: Cell
    runs: Sequence[StudyRun]
    agreements: Sequence[Agreement]  #: none: the simulator was not asked


def find(store: Store, agreements: Sequence[Agreement] = ()) -> Findings:
    """Reads the folder. Raises NoResults, NothingToCompare."""
    config = store.config()
    phases = store.phases(config)
    cell, runs = compared(config, phases)
    return Findings(config=config, phases=phases, cell=cell, runs=runs, agreements=agreements)


def write(store: Store, found: Findings) -> None:
    """Writes the files of the report into the folder of the experiment."""
    reference = found.config.divided_by
    report = Report(
        cells=[found.cell],
        reference=reference if reference in found.cell.rows else None,
        command=f"llmsched experiment run config.yaml --out {store.folder}",
        facts=_facts(store, found),
        left_out={},
        title=f"Experiment {found.config.name}: policies on the live system",
        note=_NOTE,
        sections=_sections(store, found),
    )
    write_runs(store.folder / "results.csv", found.runs)
    write_table(store.folder / "table.csv", report.cells, report.reference)
    plain = as_json(found.config.plain(), report.cells, found.runs, report.reference)
    plain["agreement"] = [one.plain() for one in found.agreements]
    plain["tokens"] = {
        policy: dict(zip(("prompt", "output"), tokens(found.phases, policy), strict=True)) for policy in found.cell.rows
    }
    store.write_json("results.json", plain)
    write_atomically(store.folder / "table.md", "\n".join(markdown(found)) + "\n")
    write_atomically(store.folder / "report.html", render(report))
    charts = store.folder / "charts"
    charts.mkdir(exist_ok=True)
    css = style(ranking(report.cells))
    pictures = {**drawings(report.cells)}
    pictures |= {f"time-{index}": one for index, one in enumerate(engines_over_time(store, found.phases))}
    for name, drawing in pictures.items():
        (charts / f"{name}.svg").write_text(drawing.markup(css), encoding="utf-8")


def markdown(found: Findings) -> list[str]:
    """One table to paste."""
    reference, config = found.config.divided_by, found.config
    by_policy = {one.policy: one for one in found.agreements}
    head = ["policy", "mean JCT (s)", f"beside {reference}", "p50", "p95", "failed", "prompt tokens", "output tokens"]
    head += ["full step (s)"]
    head += ["simulated (s)", "difference", f"predicted beside {reference}"] if by_policy else []
    lines = [_row(head), _row(["---"] + ["--:"] * (len(head) - 1))]
    for policy, row in found.cell.rows.items():
        asked, given = tokens(found.phases, policy)
        ratio = interval(row.to_reference, 3) if row.to_reference else "–"
        summary = row.summary
        cells = [policy, interval(row.mean, 2), ratio, f"{summary.p50_jct:.2f}", f"{summary.p95_jct:.2f}"]
        cells += [str(row.failed), f"{asked:,}", f"{given:,}", f"{full_step(found.phases, policy):.3f}"]
        if by_policy:
            one = by_policy.get(policy)
            cells += [f"{one.simulated:.2f}", f"{one.difference:+.1%}"] if one else ["–", "–"]
            cells.append(_predicted(one, by_policy.get(reference)))
        lines.append(_row(cells))
    paired = next(iter(found.cell.rows.values())).summary.jobs
    rate = found.phases[0].rate
    told = f"{paired} jobs that succeeded under every policy" + (f", {rate:.3g} a second" if rate else "")
    if found.cell.left_out:
        told += f"; {found.cell.left_out} left out"
        told += ", but not of the simulated means: they are of all jobs that succeeded under that one policy"
    head_line = f"{config.name}: {told}; means with 95 % intervals over paired jobs."
    note = "Full step: of a full batch, as the calls of that policy tell; engines are not equally fast in every phase."
    if by_policy:
        note += " Predicted: all phases' jobs on their engines, simulated under each policy, so of the order alone."
    return [head_line, "", *lines, "", note]


def full_step(phases: Sequence[Phase], policy: str) -> float:
    """Seconds that a step of a full batch took under this policy, of all repeats: how fast its engines were."""
    seconds = []
    for phase in phases:
        if phase.policy == policy:
            shape, work = measured(phase)
            seconds.append(work.decode * shape.slowdown(shape.max_batch))
    return fmean(seconds)


def _predicted(one: Agreement | None, reference: Agreement | None) -> str:
    if one is None or reference is None or not reference.predicted:
        return "–"
    return f"{one.predicted / reference.predicted:.3f}"


def markdown_agreement(agreements: Sequence[Agreement]) -> list[str]:
    """Live and simulated means side by side."""
    head = ["policy", "live (s)", "simulated (s)", "difference", "from all jobs (s)"]
    lines = [_row(head), _row(["---"] + ["--:"] * (len(head) - 1))]
    return lines + [_row(cells) for cells in _agreement_rows(agreements)]


_NOTE = (
    "Measured on the running system. Jobs are paired by their place in the order of arrival: the same application, "
    "input and time under every policy. Models sample, so the same input may lead to longer or shorter answers in "
    "another phase; the intervals, over paired jobs, include that."
)


def _sections(store: Store, found: Findings) -> list[Section]:
    sections = []
    if found.agreements:
        sections.append(
            Section(
                key="agreement",
                title="Live and simulated",
                text="The simulator is told what the jobs of each phase took, how fast the engine was and what"
                " there was to learn from. The last column is what it says of every policy from the jobs of"
                " all phases: there the order of service is all that differs.",
                columns=("policy", "live (s)", "simulated (s)", "difference", "from all jobs (s)"),
                rows=list(_agreement_rows(found.agreements)),
            )
        )
    charts = engines_over_time(store, found.phases)
    if charts:
        sections.append(
            Section(
                key="time",
                title="Engines over time",
                text="Of each policy's first repeat; means over 24 parts of the time. phases/*.samples.csv has every"
                " sample.",
                charts=[chart.markup() for chart in charts],
            )
        )
    sections.append(
        Section(
            key="jobs",
            title="Jobs and tokens",
            text="All jobs of all repeats. What failed is in no JCT, under no policy.",
            columns=("policy", "jobs", "failed", "why", "prompt tokens", "output tokens", "seconds"),
            rows=[_phase_row(found.phases, policy) for policy in found.cell.rows],
        )
    )
    return sections


def _phase_row(phases: Sequence[Phase], policy: str) -> list[str]:
    mine = [phase for phase in phases if phase.policy == policy]
    jobs = [job for phase in mine for job in phase.jobs]
    why = Counter(job.failure.partition(":")[0] or job.state for job in jobs if job.jct is None)
    asked, given = tokens(mine, policy)
    reasons = ", ".join(f"{count} {reason}" for reason, count in why.most_common()) or "–"
    seconds = sum(phase.seconds for phase in mine)
    return [policy, str(len(jobs)), str(sum(why.values())), reasons, f"{asked:,}", f"{given:,}", f"{seconds:.0f}"]


def _agreement_rows(agreements: Sequence[Agreement]) -> Sequence[Sequence[str]]:
    return [
        [
            one.policy,
            f"{one.live:.2f}",
            f"{one.simulated:.2f}",
            f"{one.difference:+.1%}",
            f"{one.predicted:.2f}",
        ]
        for one in agreements
    ]


def _facts(store: Store, found: Findings) -> dict[str, str]:
    config, first = found.config, found.phases[0]
    engine = config.engine
    history = store.history()
    warm = store.read(WARM_UP)
    took = sum(phase.seconds for phase in found.phases) + (warm.seconds if warm else 0.0)
    cluster = first.cluster
    shape, work = measured(first)
    ageing = f"{config.ageing_seconds:g} s" if config.ageing_seconds else "off"
    rate = f"{first.rate:.4g} jobs a second" if first.rate else "times of a trace"
    load = f", {first.load:.2f} of the capacity measured in the warm-up" if first.load else ""
    return {
        "jobs": f"{config.jobs} in each phase, {config.arrivals.kind} arrivals, {rate}{load}",
        "applications": ", ".join(sorted({job.application for job in first.jobs})),
        "repeats": f"{config.repeats}, each with jobs of its own, the same for all policies",
        "history": f"{len(history)} jobs, known to every policy at the start of each phase and nothing else",
        "engine": f"{engine.kind}: {cluster['llm_executors']} with {cluster['max_batch']} slots each; {first.cache}",
        "engine's speed": f"prefill {work.prefill:.3g} s and decode {work.decode:.3g} s a token alone; a batch of"
        f" {shape.max_batch} takes {shape.slowdown(shape.max_batch):.3g} times longer; by the calls of the first phase",
        "tool slots": str(cluster["tool_slots"]),
        "ageing guard": ageing,
        "intervals": f"95 %, {RESAMPLES:,} resamples of repeats and of paired jobs inside them",
        "time": f"{timedelta(seconds=round(took))}, the starting of services and engines not counted",
        **facts(store.folder),
    }


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
