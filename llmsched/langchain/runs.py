"""Which job a call belongs to: the runs of LangChain, from a graph's start to its end.

A callback handler sees every run of the process start and end. A run without a parent is the root of all that it
calls, and gets a job as soon as it calls a model or tool of ours; the job ends with the root. Nothing of this asks
a server: jobs are opened by the first call and closed in the background.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import threading
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers.context import register_configure_hook

from llmsched.errors import LLMSchedError
from llmsched.langchain.connection import Connection, JobPort, Opener
from llmsched.langchain.shown import shown

__all__ = ["Place", "RunJob", "Runs", "application_of", "place_of", "runs", "stage_name_of"]

_log = logging.getLogger(__name__)
_MAX_AFTER = 256  #: stages that one may come after, by the contract
_MAX_NAME = 128


class Place(NamedTuple):
    """Where in a graph something runs: steps follow each other, and the nodes of one are beside each other."""

    graph: str
    step: int
    task: str  #: this visit of the node


@dataclass(slots=True, eq=False)
class Run:
    """A run of LangChain that has begun and not ended."""

    run_id: UUID
    parent: Run | None
    name: str
    input: Any = None
    place: Place | None = None
    thread: str = ""
    #: Of a root: by connection and application. Calls in different threads may ask at once.
    jobs: dict[tuple[Connection, str], RunJob] = field(default_factory=dict)
    #: Of a root: what it has begun may go on, but gets no job that nobody would close.
    ended: bool = False

    @property
    def root(self) -> Run:
        """The run that nothing has called."""
        run = self
        while run.parent is not None:
            run = run.parent
        return run

    def places(self) -> list[Place]:
        """Where it runs: innermost graph first."""
        found: list[Place] = []
        run: Run | None = self
        while run is not None:
            # The runs within a node have the node's place.
            if run.place is not None and run.place not in found:
                found.append(run.place)
            run = run.parent
        return found


class RunJob:
    """The open job of a root run. Its coroutines run in the connection's loop."""

    def __init__(
        self, connection: Connection, application: str, *, input: Any = None, labels: Mapping[str, str] | None = None
    ) -> None:
        self._connection = connection
        self._application = application
        self._input = input
        self._labels = dict(labels or {})
        self._opening: asyncio.Task[JobPort] | None = None
        self._block: Any = None
        #: Stages by graph and step.
        self._stages: dict[str, dict[int, list[str]]] = {}
        #: By the visit of a node, the stages that have ended there with none after them that has.
        self._latest: dict[str, dict[str, None]] = {}
        self._ended = False

    @property
    def has_ended(self) -> bool:
        """Whether it was closed. Nothing can be added then."""
        return self._ended

    async def job(self, client: Opener) -> JobPort:
        """The job, opened by the first call. Raises LLMSchedError."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._open(client), name="llmsched-open-job")
        # A caller that gives up must not take the job from the others.
        return await asyncio.shield(self._opening)

    async def _open(self, client: Opener) -> JobPort:
        given = self._input if isinstance(self._input, dict) else {} if self._input is None else {"input": self._input}
        self._block = client.open_job(self._application, input=given, labels=self._labels)
        try:
            job: JobPort = await self._block.__aenter__()
        except BaseException:
            self._opening = None  # the next call tries again
            raise
        self._connection.opened(self, self._cancel)
        return job

    def after(self, places: list[Place]) -> list[str]:
        """The stages that are known to come before a call there.

        What has ended in the same node, else the stages of the last step that had any, of the innermost graph first.
        """
        latest = self._latest.get(_task(places))
        if latest:
            return list(latest)[-_MAX_AFTER:]
        for place in places:
            steps = self._stages.get(place.graph, {})
            before = [step for step in steps if step < place.step]
            if before:
                return steps[max(before)][-_MAX_AFTER:]
        return []

    def added(self, stage_id: str, places: list[Place]) -> None:
        """Notes a stage, for those that come after it."""
        for graph, step in {(place.graph, place.step) for place in places}:
            self._stages.setdefault(graph, {}).setdefault(step, []).append(stage_id)

    def ended(self, stage_id: str, after: list[str], places: list[Place]) -> None:
        """Notes that it has ended; `after` is what it came after."""
        latest = self._latest.setdefault(_task(places), {})
        for each in after:
            latest.pop(each, None)
        latest[stage_id] = None

    async def close(self, output: Any, error: BaseException | None) -> None:
        """Ends the job as its run has ended: well, with an exception, or cancelled."""
        if self._ended:
            return
        self._ended = True
        if self._opening is None:
            return
        try:
            job = await self._opening
        except LLMSchedError:
            return  # there never was one, as the call that wanted it has heard
        try:
            job.output = output
            kind = None if error is None else type(error)
            await self._block.__aexit__(kind, error, None)
        except LLMSchedError as problem:
            # Its calls have their answers; a job without a sign of life ends by itself.
            _log.warning("the job of %s was not closed: %s", self._application, problem)
        finally:
            self._connection.closed(self)

    async def _cancel(self) -> None:
        await self.close(None, asyncio.CancelledError())


class Runs(BaseCallbackHandler):
    """The runs that go on in this process."""

    #: In event loops, too, callbacks come in order and from the loop's own thread; none of them waits for anything.
    run_inline = True
    #: Calls of models say whose they are. Asked about them, LangChain would write down the prompts of all for nothing.
    ignore_llm = True
    ignore_chat_model = True

    def __init__(self) -> None:
        self._runs: dict[UUID, Run] = {}
        self._lock = threading.Lock()  #: between what gets a job and what ends all jobs of a root

    def find(self, run_id: UUID | None) -> Run | None:
        """A run that goes on."""
        return self._runs.get(run_id) if run_id is not None else None

    def job_of(self, run: Run, connection: Connection, application: str) -> RunJob | None:
        """The job of the run's root, None if that has ended; `application` is the root's name unless it is given."""
        root = run.root
        key = (connection, application or application_of(root.name))
        made = None
        if key not in root.jobs:
            labels = {"langgraph_thread": root.thread} if root.thread else {}
            made = RunJob(connection, key[1], input=shown(root.input), labels=labels)
        with self._lock:  # threads of one graph share a job
            if root.ended:
                return None
            return root.jobs.setdefault(key, made) if made else root.jobs[key]

    def on_chain_start(
        self,
        serialized: dict[str, Any] | None,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        """A graph, a node or any other runnable begins."""
        self._begin(run_id, parent_run_id, name or _name_in(serialized), inputs, metadata)

    def on_tool_start(
        self,
        serialized: dict[str, Any] | None,
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        inputs: dict[str, Any] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        """A tool begins; it may call models itself."""
        self._begin(run_id, parent_run_id, name or _name_in(serialized), inputs or input_str, metadata)

    def on_retriever_start(
        self,
        serialized: dict[str, Any] | None,
        query: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        """A retriever begins; some ask models what to look for."""
        self._begin(run_id, parent_run_id, name or _name_in(serialized), query, metadata)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """It has ended."""
        self._end(run_id, outputs, None)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """It has failed, or was cancelled."""
        self._end(run_id, None, error)

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """It has ended."""
        self._end(run_id, output, None)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """It has failed, or was cancelled."""
        self._end(run_id, None, error)

    def on_retriever_end(self, documents: Sequence[Any], *, run_id: UUID, **kwargs: Any) -> None:
        """It has ended."""
        self._end(run_id, documents, None)

    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """It has failed, or was cancelled."""
        self._end(run_id, None, error)

    def _begin(
        self, run_id: UUID, parent_id: UUID | None, name: str, given: Any, metadata: Mapping[str, Any] | None
    ) -> None:
        parent = self.find(parent_id)
        if parent is None:
            # Of others the input would be kept for nothing.
            thread = str((metadata or {}).get("thread_id") or "")[:_MAX_NAME]
            self._runs[run_id] = Run(run_id, None, name, input=given, thread=thread)
        else:
            self._runs[run_id] = Run(run_id, parent, name, place=place_of(metadata))

    def _end(self, run_id: UUID, output: Any, error: BaseException | None) -> None:
        run = self._runs.pop(run_id, None)
        if run is None:
            return
        with self._lock:
            run.ended = True  # from here on there are no more jobs
        if not run.jobs:
            return
        if isinstance(error, GeneratorExit | KeyboardInterrupt):
            error = asyncio.CancelledError(type(error).__name__)  # whoever read the stream has stopped
        result = shown(output)
        for (connection, _), job in run.jobs.items():
            connection.start(lambda _, job=job: job.close(result, error))  # type: ignore[misc]


def place_of(metadata: Mapping[str, Any] | None) -> Place | None:
    """Where in a LangGraph graph a run is, None outside of any."""
    found = metadata or {}
    step = found.get("langgraph_step")
    if not isinstance(step, int):
        return None
    # `outer:id|inner:id` is the node; without its last part it is the graph.
    namespace = str(found.get("langgraph_checkpoint_ns", ""))
    return Place(namespace.rpartition("|")[0], step, namespace)


def _task(places: list[Place]) -> str:
    return places[0].task if places else ""


def stage_name_of(metadata: Mapping[str, Any] | None, otherwise: str) -> str:
    """What the calls of a place are called: the graph's node, `outer.inner` for a graph within a graph."""
    found = metadata or {}
    node = str(found.get("langgraph_node") or "")
    namespace = str(found.get("langgraph_checkpoint_ns") or "")
    around = [part.partition(":")[0] for part in namespace.split("|")[:-1]]
    # Graphs called by number, or by a task's id, would give a name for each call.
    nodes = [part for part in around if part and not part.isdigit()]
    name = ".".join([*nodes, node]) if node else otherwise
    return re.sub(r"[^A-Za-z0-9_.:-]+", "_", name)[:_MAX_NAME].lstrip(".:-") or "llm"


def application_of(name: str) -> str:
    """The name of an application made from that of a graph."""
    if name == "LangGraph":  # what graphs without a name are called
        return "langgraph"
    words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "-", name).lower())
    words = list(itertools.dropwhile(lambda word: word[0].isdigit(), words))
    return "-".join(words)[:63].rstrip("-") or "langchain"


def _name_in(serialized: Mapping[str, Any] | None) -> str:
    found = serialized or {}
    return str(found.get("name") or (found.get("id") or [""])[-1])


#: The handler of this process.
runs = Runs()
register_configure_hook(ContextVar("llmsched_runs", default=runs), inheritable=True)
