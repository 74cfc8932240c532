"""`profiles plot`: the page about a profile, and the command that writes it."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from llmsched.cli.main import cli
from services.profiler.core.profile import Profile, learn
from services.profiler.core.trace import TraceJob, read_history
from services.profiler.plot.layout import layout
from services.profiler.plot.measure import LEAST_JOBS, measured
from services.profiler.plot.page import Reliability, render, render_network
from services.profiler.plot.picture import mutual_information, picture
from tests.unit.services.profiler.traces import line, stage


def history(count: int, application: str = "app") -> list[str]:
    """Jobs of a plan, a tool that four jobs in five have, and rounds that the plan's length tells of."""
    lines = []
    for number in range(count):
        tokens = 10 + 7 * (number % 5)
        stages = [stage("plan", tasks=[{"prompt_tokens": 5 + number % 3, "output_tokens": tokens}])]
        if number % 5:
            stages.append(stage("look", "plan", kind="tool", tasks=[{"seconds": tokens / 10}] * (1 + number % 2)))
        for place in range(number % 5 + 2):
            before = stages[-1]["id"]
            stages.append(
                stage(f"write-{place}", before, name="write", tasks=[{"prompt_tokens": 3, "output_tokens": 9}])
            )
        lines.append(line(*stages, app=application, arrival_seconds=...))
    return lines


def jobs(count: int) -> list[TraceJob]:
    return list(read_history(history(count), "here"))


@pytest.fixture(scope="module")
def profile() -> Profile:
    return learn(jobs(40))["app"]


class Tags(HTMLParser):
    """Notes what is open; everything must be closed by its own end."""

    VOID = frozenset({"meta", "link", "br", "path", "line", "rect", "circle"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_shows_all_that_was_learned_and_loads_nothing(profile: Profile) -> None:
    page = render(profile, {"from": "<here>"}, Reliability(coverage={0.5: 0.4, 0.8: 0.7}, pit=[2.0] * 10, note="so"))
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert all(source.startswith("#") for source in tags.sources)
    for variable in profile.variables:
        assert f">{variable.stage[0]}" in page
    assert "&lt;here&gt;" in page
    assert "intervals of 80% held 70%" in page
    assert " % of jobs" in page
    assert "Loops, and stages that are counted together" in page
    assert "It was not measured" in render(profile, {}, None)


def test_a_profile_without_links_can_be_drawn_too() -> None:
    alone = learn(jobs(1))["app"]
    assert "Nothing depends on anything else" in render(alone, {}, None)
    assert render_network(alone).startswith("<svg xmlns=")


def test_what_is_believed_before_a_job_shows_anything(profile: Profile) -> None:
    found = picture(profile)
    look = next(node for node in found.nodes if (node.stage, node.what) == ("look", "seconds"))
    assert look.presence == pytest.approx(0.8, abs=0.03)
    assert (look.kind, look.states[0]) == ("tool", "absent")
    for node in found.nodes:
        assert sum(node.prior) == pytest.approx(1.0)
        assert sum(row.probability for row in node.rows) + node.left_out == pytest.approx(1.0)
    assert all(link.bits > 0.0 for link in found.links)
    assert max(link.bits for link in found.links) > 0.5


def test_mutual_information() -> None:
    assert mutual_information(np.array([[0.5, 0.0], [0.0, 0.5]])) == pytest.approx(1.0)
    assert mutual_information(np.array([[0.25, 0.25], [0.25, 0.25]])) == 0.0


def test_links_go_from_left_to_right_and_boxes_do_not_overlap() -> None:
    parents = [(), (0,), (0, 1), (), (2, 0), (), (4, 1)]
    found = layout(parents)
    for (parent, child), way in found.ways.items():
        assert way[0] == found.places[parent]
        assert way[-1] == found.places[child]
        assert [column for column, _ in way] == list(range(way[0][0], way[-1][0] + 1))
    places = list(found.places.values())
    assert len(places) == len(parents)
    for place, (column, row) in enumerate(places):
        assert 0 <= row <= found.rows + 0.5
        assert all(abs(row - other) >= 0.99 for at, other in places[:place] if at == column)
    assert layout([]).places == {}


def test_beliefs_are_checked_by_jobs_that_nobody_learned_from() -> None:
    found = measured(jobs(30))
    assert found is not None
    assert sum(found.pit) == pytest.approx(found.count)
    assert measured(jobs(LEAST_JOBS - 1)) is None


def plot(tmp_path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["profiles", "plot", *arguments], prog_name="llmsched", catch_exceptions=False)


def test_a_page_of_a_history_needs_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "history.jsonl"
    file.write_text("\n".join(history(24)))
    assert plot(tmp_path, "app", "--history", str(file)).stdout == "app-profile.html\n"
    assert "Cross-validated" in (tmp_path / "app-profile.html").read_text()
    result = plot(tmp_path, "app", "--history", str(file), "--out", "net.svg", "-o", "json")
    assert json.loads(result.stdout) == {"file": "net.svg", "application": "app", "jobs": 24}
    assert (tmp_path / "net.svg").read_text().startswith("<svg xmlns=")
    file.write_text("\n".join(history(4)))
    assert plot(tmp_path, "app", "--history", str(file)).exit_code == 0
    assert "It was not measured" in (tmp_path / "app-profile.html").read_text()


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    file.write_text("\n".join(history(3)))
    missing = plot(tmp_path, "other", "--history", str(file))
    assert (missing.exit_code, "it has: app" in missing.stderr) == (3, True)
    assert plot(tmp_path, "app", "--history", str(file), "--out", "x.png").exit_code == 2
    nowhere = plot(tmp_path, "app", "--history", str(file), "--out", str(tmp_path / "no" / "x.html"))
    assert nowhere.exit_code == 4
    file.write_text("{}")
    assert plot(tmp_path, "app", "--history", str(file)).exit_code == 4
