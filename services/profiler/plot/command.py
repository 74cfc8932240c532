"""`llmsched profiles plot`: a page about what was learned, from a profiler or from a history."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import click

from llmsched.cli import output
from llmsched.cli.command import Command, Settings, pass_settings
from llmsched.cli.exits import CommandFailed, Exit
from llmsched.types import Profile as ServedProfile
from services.profiler.core.profile import Profile, learn
from services.profiler.core.trace import TraceError, TraceJob, read_history
from services.profiler.plot.measure import measured
from services.profiler.plot.page import Reliability, render, render_network


@click.command(cls=Command)
@click.argument("application")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A page (.html), or the network alone (.svg).  [APPLICATION-profile.html]",
)
@click.option(
    "--history",
    "histories",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="Learn from this history here, without a profiler; repeatable.",
)
@click.option("--open/--no-open", "show", default=False, help="Show it in a browser.  [no]")
@pass_settings
def plot(settings: Settings, application: str, out: Path | None, histories: tuple[Path, ...], show: bool) -> None:
    """Draw what was learned of APPLICATION: network, distributions, tables, levels, and how reliable beliefs were.

    APPLICATION@N is version N. The file needs no network. With --history the beliefs are checked too: each third of the
    history by the others.
    """
    target = out or Path(f"{application.partition('@')[0]}-profile.html")
    if target.suffix not in (".html", ".svg"):
        raise click.UsageError("--out must end in .html or .svg")
    if histories:
        profile, facts, reliability = _learned(application, histories, settings, check=target.suffix == ".html")
    else:
        profile, facts, reliability = _served(application, settings)
    facts["drawn by"] = f"llmsched {version('llmsched')}"
    text = render_network(profile) if target.suffix == ".svg" else render(profile, facts, reliability)
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"{target} cannot be written: {error}", Exit.REFUSED, as_json=settings.as_json) from error
    if settings.as_json:
        output.print_json({"file": str(target), "application": profile.application, "jobs": profile.jobs})
    else:
        click.echo(str(target))
    if show:
        click.launch(target.resolve().as_uri())


_Found = tuple[Profile, dict[str, str], Reliability | None]


def _served(application: str, settings: Settings) -> _Found:
    served = settings.run(lambda client: client.profile(application))
    if served.content is None:
        raise CommandFailed("this version cannot read the profile's format", Exit.REFUSED, as_json=settings.as_json)
    facts = {
        "profile": served.name,
        "learned": f"{served.create_time:%Y-%m-%d %H:%M:%S} UTC" if served.create_time else "",
        "because of": served.trigger.lower(),
        "jobs in the history": f"{served.history_job_count}, {served.new_job_count} of them new",
    }
    return Profile.of_plain(served.content), facts, _reliability(served)


def _reliability(served: ServedProfile) -> Reliability | None:
    """As the profiler has measured it."""
    found = served.reliability
    if found is None:
        return None
    note = f"Of the newest {found.job_count} jobs, while they ran: {found.belief_count} beliefs."
    return Reliability(coverage=dict(found.coverage), note=note)


def _learned(application: str, histories: tuple[Path, ...], settings: Settings, *, check: bool) -> _Found:
    jobs = [job for history in histories for job in _read(history, settings)]
    own = [job for job in jobs if job.app == application]
    if not own:
        there = ", ".join(sorted({job.app for job in jobs})) or "no jobs"
        message = f"the history has no jobs of {application!r}; it has: {there}"
        raise CommandFailed(message, Exit.NOT_FOUND, as_json=settings.as_json)
    (profile,) = learn(own).values()
    found = measured(own) if check else None
    facts = {"learned here from": ", ".join(map(str, histories)), "jobs": str(len(own))}
    if found is None:
        return profile, facts, None
    note = (
        f"Cross-validated: {found.count} beliefs about the work left before the ends of stages, by profiles that were "
        f"learned from the other jobs. Mean absolute error {found.error:.3g} s, CRPS {found.crps:.3g} s."
    )
    return profile, facts, Reliability(coverage=found.coverage, pit=found.pit, note=note)


def _read(history: Path, settings: Settings) -> list[TraceJob]:
    try:
        with history.open("rb") as lines:
            return list(read_history(lines, str(history)))
    except TraceError as error:
        raise CommandFailed("\n".join(error.problems), Exit.REFUSED, as_json=settings.as_json) from error
