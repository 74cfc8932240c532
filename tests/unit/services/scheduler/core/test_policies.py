"""How policies are named and made, and what each says of itself."""

from __future__ import annotations

import pytest

from services.scheduler.core import POLICIES, PolicySettings, UnknownPolicy, make_policy
from tests.support.scheduling import make_policy_for_tests


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_every_policy_goes_by_its_own_name_and_says_what_it_is(name):
    policy = make_policy_for_tests(PolicySettings(name=name))
    assert policy.name == name
    said = type(policy).__doc__ or ""
    parts = [said.find(part) for part in ("Source:", "Faithful:", "Adapted", "Left out:", "Starvation:")]
    assert parts == sorted(parts)
    assert parts[0] > 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "magic"}, "no policy 'magic'; there are: argus, carbyne, clairvoyant-srpt, fair, fcfs, "),
        ({"name": "fcfs", "application_order": ("a",)}, "'fcfs' takes no application_order; it is for: ps-tcs"),
        ({"name": "ps-tcs", "application_order": ("a", "b", "a")}, "names an application twice"),
        ({"ageing_seconds": -1.0}, "not -1.0"),
        ({"ageing_seconds": float("nan")}, "not nan"),
        ({"ageing_seconds": float("inf")}, "not inf"),
        ({"name": "gittins", "epsilon": 0.1}, "'gittins' takes no epsilon; it is for: llmsched"),
        ({"name": "fcfs", "sample_ratio": 0.1}, "'fcfs' takes no sample_ratio; it is for: llmsched"),
        ({"name": "fcfs", "without": ("network",)}, "'fcfs' takes no without; it is for: gittins, llmsched"),
        ({"name": "llmsched", "epsilon": 1.5}, "epsilon must be a number from 0 to 1, not 1.5"),
        ({"name": "llmsched", "sample_ratio": -0.1}, "sample_ratio must be a number from 0 to 1, not -0.1"),
    ],
)
def test_settings_that_name_no_policy_are_refused_with_the_reason(settings, words):
    with pytest.raises(UnknownPolicy, match=words):
        make_policy(PolicySettings(**settings))
