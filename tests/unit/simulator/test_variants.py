"""Policies with settings as words, and back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.scheduler.core import POLICIES, PolicySettings, UnknownPolicy, make_policy
from simulator.compare.palette import css_class, style
from simulator.compare.report import about
from simulator.compare.study import Knows, knows
from simulator.run import run
from simulator.variants import label, name_of, parse
from tests.unit.simulator.recorded import job, llm, settings

WORDS = (
    "fcfs",
    "gittins:without=network",
    "gittins:without=network+part",
    "llmsched:epsilon=0",
    "llmsched:without=information,epsilon=0.1,sample-ratio=1",
)


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_the_label_of_its_settings(word):
    assert label(parse(word)) == word
    assert name_of(word) in POLICIES


def test_what_belongs_to_the_run_is_no_part_of_a_label():
    one = PolicySettings(name="ps-tcs", seed=7, ageing_seconds=3.0, application_order=("a", "b"))
    assert label(one) == "ps-tcs"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("llmsched:speed=1", "'speed=1' says nothing"),
        ("llmsched:", "'' says nothing"),
        ("llmsched:epsilon=", "'epsilon=' says nothing"),
        ("llmsched:epsilon=often", "epsilon must be a number, not 'often'"),
        ("llmsched:epsilon=0.1,epsilon=0.2", "says epsilon twice"),
    ],
)
def test_words_that_say_nothing(word, said):
    with pytest.raises(UnknownPolicy, match=said):
        parse(word)


def test_what_a_policy_cannot_do_without_is_for_the_policy_to_say():
    with pytest.raises(UnknownPolicy, match="cannot do without 'index'"):
        make_policy(parse("llmsched:without=index"))


def test_a_run_is_named_by_its_label():
    word = "gittins:without=path"
    assert run([job(llm("a"))], replace(settings(), policy=parse(word))).policy == word


def test_variants_are_known_by_their_policy_and_look_different():
    assert knows("gittins:without=network") is knows("gittins") is knows("llmsched:epsilon=0") is Knows.HISTORY
    assert about("gittins:without=network") == about("gittins")
    with pytest.raises(UnknownPolicy, match="no policy 'gitins'"):
        knows("gitins:without=network")
    assert css_class("llmsched:epsilon=0.1") == "p-llmsched_epsilon_0_1"
    rules = style(["gittins", "gittins:without=network"]).split("@media")[0].split("}")
    looks = [rule.partition("{")[2] for rule in rules if ".p-" in rule]
    assert len(set(looks)) == 2
