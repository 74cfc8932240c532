"""The chat model alone: one call, one job."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from pydantic import BaseModel
from typing_extensions import TypedDict

from llmsched.errors import InvalidRequestError, UnavailableError
from llmsched.langchain import ChatLLMSched, Connection
from tests.unit.llmsched.langchain.conftest import FakeClient


@tool
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


@tool
def negate(a: int) -> int:
    """Negates."""
    return -a


def test_a_call_outside_of_any_graph_is_a_job_of_one_stage(model: ChatLLMSched, client: FakeClient) -> None:
    answer = model.invoke("hi")
    (job,) = client.jobs
    assert (answer.content, job.application, job.names, job.output, job.ended) == (
        "fine",
        "llm",
        ["llm"],
        "fine",
        [None],
    )
    asked = job.stages[0].options
    assert asked == {"after": [], "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
    assert answer.usage_metadata == {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
    assert answer.response_metadata == {"finish_reason": "stop", "model_name": "", "job": "job-0", "stage": "llm"}


async def test_calls_of_many_tasks_share_one_client(connection: Connection, client: FakeClient) -> None:
    model = ChatLLMSched(connection=connection, model="Tiny 1.5B", application="chat")
    answers = await asyncio.gather(*(model.ainvoke(f"{number}", seed=number) for number in range(100)))
    assert {answer.content for answer in answers} == {"fine"}
    assert len(client.jobs) == 100
    assert {(job.application, *job.names, *job.ended) for job in client.jobs} == {("chat", "Tiny_1.5B", None)}
    assert sorted(job.stages[0].options["seed"] for job in client.jobs) == list(range(100))


def test_options_of_the_call_go_before_those_of_the_model(connection: Connection, client: FakeClient) -> None:
    model = ChatLLMSched(connection=connection, model="a", temperature=0.5, stop=["END"], timeout=3.0, max_attempts=1)
    model.invoke("hi", temperature=0.0, model="b", stop=["STOP"])
    asked = client.jobs[0].stages[0].options
    assert {name: asked[name] for name in ("model", "temperature", "stop", "timeout", "max_attempts")} == {
        "model": "b",
        "temperature": 0.0,
        "stop": ["STOP"],
        "timeout": 3.0,
        "max_attempts": 1,
    }
    with pytest.raises(InvalidRequestError, match="presence_penalty"):
        model.invoke("hi", presence_penalty=1.0)


def test_a_failed_call_fails_its_job(model: ChatLLMSched, client: FakeClient) -> None:
    def fail(*_: Any) -> str:
        raise UnavailableError("gone")

    client.answer = fail
    with pytest.raises(UnavailableError, match="gone"):
        model.invoke("hi")
    assert [type(error) for error in client.jobs[0].ended] == [UnavailableError]


def test_a_job_that_cannot_be_opened_is_tried_again(
    model: ChatLLMSched, client: FakeClient, connection: Connection
) -> None:
    client.refuse.append(UnavailableError("starting"))
    answer = model.with_retry(retry_if_exception_type=(UnavailableError,), wait_exponential_jitter=False).invoke("hi")
    assert answer.content == "fine"
    connection.close()
    assert [job.ended for job in client.jobs] == [[None]]


async def test_cancelling_a_call_cancels_its_job(
    model: ChatLLMSched, client: FakeClient, connection: Connection
) -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def never(*_: Any) -> str:
        loop.call_soon_threadsafe(asked.set)
        await asyncio.Event().wait()
        return ""

    client.answer = never
    call = asyncio.create_task(model.ainvoke("hi"))
    await asked.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.to_thread(connection.close)
    assert [type(error) for error in client.jobs[0].ended] == [asyncio.CancelledError]


def test_tools_are_called(model: ChatLLMSched, client: FakeClient) -> None:
    client.answer = json.dumps({"tool_calls": [{"name": "add", "args": {"a": 1, "b": 2}}]})
    answer = model.bind_tools([add, negate]).invoke("1 and 2?")
    assert isinstance(answer, AIMessage)
    assert [(call["name"], call["args"]) for call in answer.tool_calls] == [("add", {"a": 1, "b": 2})]
    asked = client.jobs[0].stages[0].options
    assert "- negate: Negates." in asked["messages"][0]["content"]
    assert len(asked["json_schema"]["anyOf"]) == 2


@pytest.mark.parametrize(
    ("choice", "tools", "may_answer"),
    [
        ("auto", ["add", "negate"], True),
        ("any", ["add", "negate"], False),
        (True, ["add", "negate"], False),
        ("negate", ["negate"], False),
        ({"type": "function", "function": {"name": "add"}}, ["add"], False),
        ("none", [], True),
    ],
)
def test_which_tools_a_model_may_call(
    model: ChatLLMSched, client: FakeClient, choice: Any, tools: list[str], may_answer: bool
) -> None:
    model.bind_tools([add, negate], tool_choice=choice).invoke("hi")
    schema = client.jobs[0].stages[0].options.get("json_schema")
    if not tools:
        assert schema is None
        return
    assert ("anyOf" in schema) is may_answer
    calling = schema["anyOf"][0] if may_answer else schema
    names = [each["properties"]["name"]["const"] for each in calling["properties"]["tool_calls"]["items"]["anyOf"]]
    assert names == tools


def test_one_call_at_a_time(model: ChatLLMSched, client: FakeClient) -> None:
    model.bind_tools([add], tool_choice="any", parallel_tool_calls=False, strict=True).invoke("hi")
    assert client.jobs[0].stages[0].options["json_schema"]["properties"]["tool_calls"]["maxItems"] == 1


def test_a_tool_that_is_not_there_cannot_be_chosen(model: ChatLLMSched) -> None:
    with pytest.raises(InvalidRequestError, match="there is no tool 'divide'; there are add"):
        model.bind_tools([add], tool_choice="divide").invoke("hi")


class Point(BaseModel):
    x: int


class PointDict(TypedDict):
    x: int


@dataclass
class PointData:
    x: int


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (Point, Point(x=1)),
        (PointDict, {"x": 1}),
        (PointData, {"x": 1}),
        (Point.model_json_schema(), {"x": 1}),
        ({"name": "Point", "parameters": Point.model_json_schema()}, {"x": 1}),
    ],
    ids=["pydantic", "TypedDict", "dataclass", "JSON schema", "function"],
)
def test_answers_of_a_type(model: ChatLLMSched, client: FakeClient, schema: Any, expected: Any) -> None:
    client.answer = '{"x": 1}'
    assert model.with_structured_output(schema).invoke("hi") == expected
    assert client.jobs[0].stages[0].options["json_schema"]["properties"]["x"]["type"] == "integer"


def test_answers_that_do_not_fit(model: ChatLLMSched, client: FakeClient) -> None:
    client.answer = '{"x": '
    with pytest.raises(OutputParserException):
        model.with_structured_output(Point).invoke("hi")
    found = model.with_structured_output(Point, include_raw=True).invoke("hi")
    assert found["raw"].content == '{"x": '
    assert found["parsed"] is None
    assert isinstance(found["parsing_error"], OutputParserException)
    with pytest.raises(ValueError, match="has no tools"):
        model.with_structured_output(Point, method="json_schema", strict=True, tools=[])


class Said(BaseModel):
    text: str


@pytest.mark.parametrize("schema", [Said, Said.model_json_schema()], ids=["pydantic", "JSON schema"])
@pytest.mark.parametrize("answer", ['{"text": "hel', '{"text": "hello"', '```json\n{"text": "hello"}\n```'])
def test_answers_that_were_cut_off_are_not_completed(
    model: ChatLLMSched, client: FakeClient, schema: Any, answer: str
) -> None:
    client.answer = answer
    with pytest.raises(OutputParserException) as caught:
        model.with_structured_output(schema).invoke("hi")
    assert caught.value.llm_output == answer


def test_the_connection_of_an_address_is_the_processes() -> None:
    assert Connection.to("127.0.0.1:1") is Connection.to("127.0.0.1:1")
    assert Connection.to("127.0.0.1:1") is not Connection.to("127.0.0.1:2")
