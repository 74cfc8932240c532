"""A cluster that answers at once, behind the port that `llmsched.Client` has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import pytest

from llmsched.langchain import ChatLLMSched, Connection
from llmsched.open_jobs import StageResult
from llmsched.types import Usage

Answer = Callable[[str, Mapping[str, Any]], str]


@dataclass
class FakeStage:
    id: str
    name: str
    options: Mapping[str, Any]
    answer: Any

    async def result(self) -> StageResult:
        answer = self.answer(self.name, self.options) if callable(self.answer) else self.answer
        if hasattr(answer, "__await__"):
            answer = await answer
        usage = Usage(prompt_tokens=7, completion_tokens=3)
        if isinstance(answer, str):
            return StageResult(stage_id=self.id, text=answer, finish_reason="stop", usage=usage)
        return StageResult(stage_id=self.id, value=answer)


@dataclass
class FakeJob:
    client: FakeClient
    application: str
    input: Any
    labels: Mapping[str, str]
    id: str
    output: Any = None
    stages: list[FakeStage] = field(default_factory=list)
    ended: list[BaseException | None] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        if self.client.refuse:
            raise self.client.refuse.pop()
        self.client.jobs.append(self)
        return self

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        assert kind is (None if error is None else type(error))
        self.ended.append(error)

    async def start_llm(self, name: str, prompt: str | None = None, **options: Any) -> FakeStage:
        return self._add(name, options, self.client.answer)

    async def start_tool(self, name: str, tool: str, args: Any = None, **options: Any) -> FakeStage:
        return self._add(name, {"tool": tool, "args": args, **options}, self.client.tool_answer)

    def _add(self, name: str, options: Mapping[str, Any], answer: Any) -> FakeStage:
        count = sum(stage.name == name for stage in self.stages)
        stage = FakeStage(name if not count else f"{name}/{count + 1}", name, options, answer)
        self.stages.append(stage)
        return stage

    @property
    def names(self) -> list[str]:
        return [stage.id for stage in self.stages]

    @property
    def after(self) -> dict[str, list[str]]:
        return {stage.id: stage.options["after"] for stage in self.stages}


@dataclass
class FakeClient:
    answer: Any = "fine"
    tool_answer: Any = None
    jobs: list[FakeJob] = field(default_factory=list)
    refuse: list[Exception] = field(default_factory=list)
    closed: bool = False

    def open_job(self, application: str, *, input: Any = None, labels: Any = None) -> FakeJob:
        return FakeJob(self, application, input, labels or {}, f"job-{len(self.jobs)}")

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def connection(client: FakeClient) -> Iterator[Connection]:
    connection = Connection(lambda: client)
    yield connection
    connection.close()


@pytest.fixture
def model(connection: Connection) -> ChatLLMSched:
    return ChatLLMSched(connection=connection, max_tokens=9)
