"""docs/policies.md: its table is complete, and its example works."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from services.scheduler.core import POLICIES, PolicySettings
from services.scheduler.core.policies.base import Knowledge
from tests.support.scheduling import Bench, admitted, attached, dispatched, job, llm, ref, succeeded, unfolded

PAGE = (Path(__file__).parents[6] / "docs" / "policies.md").read_text()
EXAMPLE, TRIAL = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_table_has_every_policy_and_says_whether_it_starves():
    rows = dict(re.findall(r"^\| `([a-z-]+)` .*\| ([a-z ]+) \|$", PAGE, flags=re.MULTILINE))
    assert set(rows) == set(POLICIES)
    for name, starvation in rows.items():
        said = " ".join((POLICIES[name].__doc__ or "").split())
        assert f"Starvation: {starvation.replace('no bound', 'none is for ever')}" in said


def example() -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec(EXAMPLE, namespace)
    return namespace


def test_the_example_is_a_policy():
    made = example()["FewestLeft"](PolicySettings(name="fewest-left"), Knowledge())
    # The bench compares every key with one computed from scratch.
    bench = Bench(policies=lambda settings, knowledge: made)
    bench.feed(attached("e1"), admitted(job("j", llm("a"), llm("b", "a"))), unfolded("j", "a", tasks=2))
    bench.feed(admitted(job("k", llm("a"), llm("b"), llm("c"), order=1)), unfolded("k", "a", tasks=1))
    bench.feed(admitted(job("l", llm("a"), order=2)), unfolded("l", "a", tasks=1))
    assert dispatched(bench.feed(succeeded(ref("j", "a", 0)))) == [("l", "a", 0, 1, "e1")]
    # "k" comes down to one stage, fewer than the two of "j".
    bench.feed(unfolded("k", "b", skipped=True), unfolded("k", "c", skipped=True))
    assert dispatched(bench.feed(succeeded(ref("l", "a")))) == [("k", "a", 0, 1, "e1")]


def test_the_trial_makes_a_machine_with_it(monkeypatch: pytest.MonkeyPatch):
    module = ModuleType("services.scheduler.core.policies.fewest_left")
    module.__dict__.update(example())
    monkeypatch.setitem(sys.modules, module.__name__, module)
    namespace: dict[str, Any] = {}
    exec(TRIAL, namespace)
    assert namespace["machine"].settings.name == "fewest-left"
