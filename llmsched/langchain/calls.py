"""A call of a model or tool as a stage: of the job that its run belongs to, or of a job of its own."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from llmsched.errors import StageFailedError
from llmsched.langchain.connection import Connection, JobPort, Opener, StagePort
from llmsched.langchain.runs import RunJob, application_of, place_of, runs
from llmsched.open_jobs import StageResult

__all__ = ["Done", "Stage", "work_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What is to be run."""

    name: str
    application: str  #: empty: the name of the graph
    run_id: UUID | None  #: the run that makes the call
    metadata: Mapping[str, Any] | None
    #: Adds it to the job, behind the stages of `after`.
    add: Callable[[JobPort, list[str]], Coroutine[Any, Any, StagePort]]
    shown: Callable[[StageResult], Any]  #: the output of a job that has no other stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a stage gave, and where that is found."""

    job_id: str
    stage_id: str
    result: StageResult


def work_of(stage: Stage, connection: Connection) -> Callable[[Opener], Coroutine[Any, Any, Done]]:
    """What the connection must do for it; it raises LLMSchedError. To be called where the call is made."""
    alone = RunJob(connection, stage.application or application_of(stage.name))
    run = runs.find(stage.run_id)
    job = runs.job_of(run, connection, stage.application) if run else None
    if run is None or job is None:
        return lambda client: _alone(stage, alone, client)
    places = run.places()
    own = place_of(stage.metadata)
    if own is not None and own not in places:
        places.insert(0, own)

    async def work(client: Opener) -> Done:
        if job.has_ended:  # meanwhile
            return await _alone(stage, alone, client)
        opened = await job.job(client)
        after = job.after(places)
        added = await stage.add(opened, after)
        job.added(added.id, places)
        try:
            result = await added.result()
        except StageFailedError:
            job.ended(added.id, after, places)
            raise
        job.ended(added.id, after, places)
        return Done(job_id=opened.id, stage_id=added.id, result=result)

    return work


async def _alone(stage: Stage, job: RunJob, client: Opener) -> Done:
    try:
        opened = await job.job(client)
        added = await stage.add(opened, [])
        result = await added.result()
    except BaseException as error:
        await job.close(None, error)
        raise
    await job.close(stage.shown(result), None)
    return Done(job_id=opened.id, stage_id=added.id, result=result)
