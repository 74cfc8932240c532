"""What `llmsched up` says about a cluster that is ready: the policy in force, and what its history knows."""

from __future__ import annotations

from dataclasses import dataclass

import llmsched
from llmsched.cli.cluster import describe, not_registered, unregistered
from services.scheduler.core.model import PolicySettings
from services.scheduler.core.policies import UnknownPolicy
from services.scheduler.knowledge import check_policy
from services.scheduler.settings import SchedulerSettings
from services.state.factory import open_state


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Texts for people; empty where there is nothing to say."""

    policy: str
    history: str = ""
    notes: tuple[str, ...] = ()


async def look(client: llmsched.Client, asked: SchedulerSettings, redis_url: str) -> Findings:
    """Asks a cluster whose schedulers were started with these settings."""
    state = open_state(redis_url, shard=asked.shard)
    try:
        stored = await state.get_policy()
    finally:
        await state.aclose()
    policy = await client.policy()
    notes = [why_not_asked(stored, asked, in_force=policy.name)]
    missing = await unregistered(client, asked.application_order)
    notes += [not_registered(missing)] if missing else []
    return Findings(policy=describe(policy), history=describe_history(asked), notes=tuple(filter(None, notes)))


def why_not_asked(stored: PolicySettings | None, asked: SchedulerSettings, *, in_force: str = "") -> str:
    """Why a cluster with this policy in its state does not schedule as asked, or not as before; empty if it does."""
    if stored is None or stored == asked.default_policy:
        return ""
    try:
        if stored.name != in_force:  # else profiles have told it what it needs to know
            check_policy(stored, asked.knowledge)
    except UnknownPolicy as error:
        return (
            f"the policy that was set last, {stored.name}, cannot be used: {error}; {asked.policy} is in force instead"
        )
    if stored.name == asked.policy:
        return (
            f"{stored.name} has the settings that it was last given by `llmsched policy set`; those of `up` count only "
            "where none was set"
        )
    return (
        f"{stored.name} was set last by `llmsched policy set` and stays in force; --policy {asked.policy} counts only "
        f"where none was set: `llmsched policy set {asked.policy}`"
    )


def describe_history(settings: SchedulerSettings) -> str:
    """What the scheduler has learned from; empty without a history."""
    statistics = settings.knowledge.statistics
    if statistics is None:
        return ""
    names = sorted(statistics.applications)
    of = f"{len(names)} application{'' if len(names) == 1 else 's'}: {', '.join(names)}"
    return f"{statistics.pooled.jobs} job{'' if statistics.pooled.jobs == 1 else 's'} of {of}"
