"""What people are shown of a graph's input and output, whatever that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel

from llmsched.langchain import ChatLLMSched, Connection
from llmsched.langchain.shown import shown
from tests.unit.llmsched.langchain.conftest import FakeClient


def test_what_people_are_shown_is_json() -> None:
    class Odd:
        def __str__(self) -> str:
            return "odd"

    call = {"name": "f", "args": {"n": 1}, "id": "1", "type": "tool_call"}
    given = {"messages": [AIMessage("hi", tool_calls=[call])], 1: (Odd(), {2.5})}
    assert shown(given) == {
        "messages": [{"ai": "hi", "tool_calls": [{"name": "f", "args": {"n": 1}}]}],
        "1": ["odd", [2.5]],
    }
    assert shown({"text": "x" * 100_000}) is None
    assert shown(float("nan")) is None


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("broken")


class BrokenModel(BaseModel):
    def model_dump(self, **_: Any) -> Any:
        raise RuntimeError("broken")


@pytest.mark.parametrize("value", [Broken(), BrokenModel(), {Broken(): 1}], ids=["text", "model", "key"])
def test_what_cannot_be_shown_is_no_trouble(
    model: ChatLLMSched, client: FakeClient, connection: Connection, value: Any
) -> None:
    (RunnableLambda(lambda _: "hi") | model | (lambda _: value)).invoke(value)
    connection.close()
    (job,) = client.jobs
    assert (job.input, job.output, job.ended) == ({}, None, [None])


def test_no_more_is_copied_than_can_be_shown() -> None:
    seen: list[int] = []

    class Long(Mapping[str, Any]):
        def __len__(self) -> int:
            return 10**6

        def __iter__(self) -> Iterator[str]:
            return map(str, range(10**6))

        def __getitem__(self, key: str) -> Any:
            seen.append(int(key))
            return int(key)

    assert shown({"state": Long()}) is None
    assert len(seen) < 50_000
    assert shown([1] * 20_000) == [1] * 20_000
    assert shown(["x" * 1000] * 65) == ["x" * 1000] * 65
