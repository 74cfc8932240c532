"""The applications of `experiments/sim`: lengths of prompts do not tell what is hidden from the scheduler."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmsched.application.template_filters import Meter
from llmsched.application.templates import Template
from services.executors.engine_sim.reply import Question, reply_to

SIM = Path(__file__).parents[3] / "experiments" / "sim"
OTHERS = {"execute": "done", "search": "found", "item": 0, "refine": {"round": 1}}


def prompts_in(stages: list[dict[str, Any]]) -> list[str]:
    """Of all calls of a model."""
    return [
        text for each in stages for text in ([each["prompt"]] if "prompt" in each else prompts_in(each.get("body", [])))
    ]


@pytest.mark.parametrize("name", ["question", "research", "refining", "planning"])
def test_prompts_script_answers_and_are_of_one_length(name: str) -> None:
    inputs = [json.loads(line) for line in (SIM / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    stages = yaml.safe_load((SIM / f"{name}.yaml").read_text(encoding="utf-8"))["stages"]
    for prompt in prompts_in(stages):
        meter = Meter(steps=10_000_000, characters=100_000)
        written = [Template.of(prompt).evaluate({"input": each, **OTHERS}, meter) for each in inputs]
        assert len({len(text) for text in written}) == 1
        replies = [reply_to(Question(prompt=text, max_tokens=2000), seed=1, mean_fraction=0.5) for text in written]
        assert len({reply.tokens for reply in replies}) > 3
        if "reply" in prompt:
            assert [reply.text for reply in replies] == [json.loads(each["plan"]) for each in inputs]
            assert [reply.tokens for reply in replies] == [20 + 30 * each["steps"] for each in inputs]
