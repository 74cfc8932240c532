"""The policies by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from services.scheduler.core.model import PolicySettings
from services.scheduler.core.policies.argus import Argus
from services.scheduler.core.policies.base import Knowledge, Policy, UnknownPolicy
from services.scheduler.core.policies.carbyne import Carbyne
from services.scheduler.core.policies.clairvoyant_srpt import ClairvoyantSrpt
from services.scheduler.core.policies.fair import Fair
from services.scheduler.core.policies.fcfs import Fcfs
from services.scheduler.core.policies.gittins import Gittins
from services.scheduler.core.policies.hermes import Hermes
from services.scheduler.core.policies.llmsched import Llmsched
from services.scheduler.core.policies.plas import Plas
from services.scheduler.core.policies.ps_tcs import PsTcs
from services.scheduler.core.policies.random import Random
from services.scheduler.core.policies.request_fcfs import RequestFcfs
from services.scheduler.core.policies.sjf import Sjf
from services.scheduler.core.policies.srtf import Srtf

__all__ = ["BY_PROFILE", "PARAMETERS", "POLICIES", "UnknownPolicy", "make_policy"]

#: How to make each policy of its settings.
POLICIES: Mapping[str, Callable[[PolicySettings, Knowledge], Policy]] = {
    policy.name: policy
    for policy in (
        Argus,
        Carbyne,
        ClairvoyantSrpt,
        Fair,
        Fcfs,
        Gittins,
        Hermes,
        Llmsched,
        Plas,
        PsTcs,
        Random,
        RequestFcfs,
        Sjf,
        Srtf,
    )
}

#: Those that go by the profiles of applications. They start without any, and then go by the service received.
BY_PROFILE = frozenset({Gittins.name, Llmsched.name})

#: What a policy knows that is told of nothing but its jobs.
NOTHING = Knowledge()

#: Settings that only some policies take, and which.
PARAMETERS = {
    "application_order": ("ps-tcs",),
    "epsilon": ("llmsched",),
    "sample_ratio": ("llmsched",),
    "without": ("gittins", "llmsched"),
}


def make_policy(settings: PolicySettings, knowledge: Knowledge = NOTHING) -> Policy:
    """Makes the policy that the settings describe.

    Raises:
        UnknownPolicy: no such policy, a parameter that it does not take, a value that makes no sense, or knowledge
            that the policy needs is not there.
    """
    if settings.name not in POLICIES:
        raise UnknownPolicy(f"no policy {settings.name!r}; there are: {', '.join(sorted(POLICIES))}")
    for parameter, takers in PARAMETERS.items():
        if getattr(settings, parameter) not in (None, ()) and settings.name not in takers:
            raise UnknownPolicy(f"policy {settings.name!r} takes no {parameter}; it is for: {', '.join(takers)}")
    if len(set(settings.application_order)) < len(settings.application_order):
        raise UnknownPolicy("application_order names an application twice")
    ageing = settings.ageing_seconds
    if ageing is not None and not (math.isfinite(ageing) and ageing >= 0):
        raise UnknownPolicy(f"ageing_seconds must be a number of seconds from 0 up, not {ageing}")
    for parameter in ("epsilon", "sample_ratio"):
        value = getattr(settings, parameter)
        if value is not None and not 0.0 <= value <= 1.0:
            raise UnknownPolicy(f"{parameter} must be a number from 0 to 1, not {value}")
    return POLICIES[settings.name](settings, knowledge)
