"""Commands for operators: executors, queue, policy."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta

import click

from llmsched.cli import output
from llmsched.cli.command import Command, Settings, pass_settings
from llmsched.client import Client
from llmsched.errors import LLMSchedError
from llmsched.types import Policy, QueuedStage

#: A seed: what 64 bits hold.
SEED = click.IntRange(-(2**63), 2**63 - 1)
SHARE = click.FloatRange(0, 1)


@click.command(cls=Command)
@pass_settings
def executors(settings: Settings) -> None:
    """Show executors and the cluster's load."""
    cluster = settings.run(lambda client: client.cluster())
    if settings.as_json:
        output.print_json(cluster)
        return
    rows = [
        (
            executor.executor_id,
            executor.kind,
            output.state(executor.state),
            f"{executor.used_slots}/{executor.slots}",
            executor.engine_waiting or "",
            output.since(executor.heartbeat_time),
            ", ".join(executor.offers),
            output.pairs(executor.labels),
        )
        for executor in cluster.executors
    ]
    columns = ["EXECUTOR", "KIND", "STATE", "SLOTS", "WAITING", "LAST SEEN", "OFFERS", "LABELS"]
    output.print_table(columns, rows, empty="No executors are attached.")
    click.echo(
        f"active jobs: {cluster.active_jobs} · waiting stages: {cluster.ready_stages} · "
        f"running attempts: {cluster.running_attempts} · policy: {describe(cluster.policy)} · epoch: {cluster.epoch}",
        err=True,
    )


@click.command(cls=Command)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most this many.")
@pass_settings
def queue(settings: Settings, limit: int) -> None:
    """Show stages that wait, in the order in which they would run."""

    async def work(client: Client) -> list[QueuedStage]:
        return [stage async for stage in client.queue(limit=limit)]

    stages = settings.run(work)
    if settings.as_json:
        output.print_json(stages)
    else:
        print_queue(stages)


@click.group()
def policy() -> None:
    """Show or change the scheduling policy."""


@policy.command(cls=Command)
@pass_settings
def show(settings: Settings) -> None:
    """Show the policy in force and those that can be set now."""

    async def work(client: Client) -> tuple[Policy, tuple[str, ...]]:
        return await client.policy(), await client.policies()

    current, available = settings.run(work)
    if settings.as_json:
        output.print_json({"policy": current, "available": available})
        return
    click.echo(describe(current))
    click.echo(f"available: {', '.join(available)}")


@policy.command("set", cls=Command)
@click.argument("name")
@click.option("--order", default="", metavar="APP,APP,…", help="ps-tcs: applications, first served first.")
@click.option("--ageing", type=click.FloatRange(min=0), metavar="SECONDS", help="Oldest first beyond this; 0: never.")
@click.option("--seed", type=SEED, help="random, llmsched, gittins: another seed, other draws.")
@click.option("--epsilon", type=SHARE, help="llmsched: how often it looks for information.  [0.2]")
@click.option("--sample-ratio", type=SHARE, help="llmsched: share of a stage's tasks that it looks at then.  [0.3]")
@click.option("--without", multiple=True, metavar="INGREDIENT", help="llmsched, gittins: to leave out; repeatable.")
@pass_settings
def set_(
    settings: Settings,
    name: str,
    order: str,
    ageing: float | None,
    seed: int | None,
    epsilon: float | None,
    sample_ratio: float | None,
    without: tuple[str, ...],
) -> None:
    """Schedule by policy NAME from the next decision on, and print it with its settings.

    Nothing is taken over from the policy before it: order, ageing and seed are what the cluster was started with,
    unless they are given here.
    """
    wanted = Policy(
        name=name,
        application_order=tuple(filter(None, order.split(","))),
        ageing=None if ageing is None else timedelta(seconds=ageing),
        seed=seed,
        epsilon=epsilon,
        sample_ratio=sample_ratio,
        without=without,
    )

    async def work(client: Client) -> tuple[Policy, list[str]]:
        return await client.set_policy(wanted), await unregistered(client, wanted.application_order)

    current, unknown = settings.run(work)
    if unknown:
        click.echo(f"note: {not_registered(unknown)}", err=True)
    if settings.as_json:
        output.print_json(current)
    else:
        click.echo(describe(current))


async def unregistered(client: Client, applications: Collection[str]) -> list[str]:
    """Those of the names that no registered application has; none if there is no planner to ask."""
    if not applications:
        return []
    try:
        known = {each.application async for each in client.applications()}
    except LLMSchedError:
        return []
    return [name for name in applications if name not in known]


def not_registered(applications: Collection[str]) -> str:
    """A warning for an order; applications may be registered later."""
    return f"the order names applications that are not registered (yet): {', '.join(applications)}"


def describe(policy: Policy) -> str:
    """A policy in one line."""
    parts = [policy.name]
    if policy.application_order:
        parts.append(f"order {','.join(policy.application_order)}")
    if policy.seed or (policy.name == "random" and policy.seed is not None):
        parts.append(f"seed {policy.seed}")
    if policy.epsilon is not None:
        parts.append(f"epsilon {policy.epsilon:g}")
    if policy.sample_ratio is not None:
        parts.append(f"sample ratio {policy.sample_ratio:g}")
    if policy.without:
        parts.append(f"without {','.join(policy.without)}")
    if policy.ageing is not None:
        parts.append(f"ageing {output.span(policy.ageing)}" if policy.ageing else "no ageing guard")
    return ", ".join(parts)


def print_queue(stages: Sequence[QueuedStage]) -> None:
    """Stages that wait, as a table."""
    rows = [
        (
            stage.rank,
            stage.job_id,
            stage.stage_id,
            stage.application,
            stage.requirement,
            stage.waiting_tasks,
            output.since(stage.ready_time),
            stage.reason,
        )
        for stage in stages
    ]
    columns = ["RANK", "JOB", "STAGE", "APPLICATION", "NEEDS", "TASKS", "READY", "BY"]
    output.print_table(columns, rows, empty="Nothing waits.")
