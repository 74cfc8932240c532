"""LangGraph graphs: which calls are of which job, what their stages are called, and how jobs end."""

from __future__ import annotations

import asyncio
import json
import operator
import threading
from collections.abc import Callable
from typing import Annotated, Any
from uuid import uuid4

import pytest
from typing_extensions import TypedDict

pytest.importorskip("langgraph", reason="langgraph is not installed")

from langchain_core.documents import Document
from langchain_core.messages import HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Command, interrupt

import llmsched.tools
from llmsched.errors import StageFailedError
from llmsched.langchain import ChatLLMSched, Connection, llmsched_tool
from llmsched.langchain.runs import application_of, runs, stage_name_of
from llmsched.types import Failure, Stage, StageKind, StageState
from tests.unit.llmsched.langchain.conftest import FakeClient


class State(TypedDict):
    said: Annotated[list[str], operator.add]


Node = Callable[[State], Any]


@llmsched.tools.tool("sample.double", env=())
def double(n: int) -> int:
    """Doubles a number."""
    return 2 * n


def graph_of(edges: dict[str, list[str]], node: Callable[[str], Any], name: str = "Sample", **options: Any) -> Any:
    """A graph of nodes that `node` makes of their names."""
    builder = StateGraph(State)
    for each in {*edges, *(after for afters in edges.values() for after in afters)} - {START, END}:
        builder.add_node(each, node(each))
    for before, afters in edges.items():
        for after in afters:
            builder.add_edge(before, after)
    return builder.compile(name=name, **options)


def speaks(model: ChatLLMSched) -> Callable[[str], Any]:
    """Nodes that ask the model once."""

    async def speak(_: State) -> dict[str, Any]:
        return {"said": [str((await model.ainvoke("hi")).content)]}

    return lambda name: speak


def speaks_blocking(model: ChatLLMSched) -> Callable[[str], Any]:
    return lambda name: lambda _: {"said": [model.invoke("hi").content]}


DIAMOND = {START: ["a"], "a": ["b", "c"], "b": ["d"], "c": ["d"], "d": [END]}


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_graph_is_one_job(
    model: ChatLLMSched, client: FakeClient, connection: Connection, blocking: bool
) -> None:
    if blocking:
        graph = graph_of(DIAMOND, speaks_blocking(model), "MyGraph2")
        found = await asyncio.to_thread(graph.invoke, {"said": ["start"]})
    else:
        found = await graph_of(DIAMOND, speaks(model), "MyGraph2").ainvoke({"said": ["start"]})
    assert found["said"] == ["start", *["fine"] * 4]
    await asyncio.to_thread(connection.close)
    (job,) = client.jobs
    assert (job.application, job.input, job.ended) == ("my-graph2", {"said": ["start"]}, [None])
    assert job.output == {"said": found["said"]}
    after = job.after
    after["d"].sort()
    assert after == {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}
    assert not runs._runs


async def test_hundreds_of_graphs_share_one_client(connection: Connection, client: FakeClient) -> None:
    made: list[int] = []

    def make() -> FakeClient:
        made.append(threading.get_ident())
        return client

    shared = Connection(make)
    graph = graph_of(DIAMOND, speaks(ChatLLMSched(connection=shared)))
    await asyncio.gather(*(graph.ainvoke({"said": []}) for _ in range(200)))
    await asyncio.to_thread(shared.close)
    assert len(made) == 1
    assert len(client.jobs) == 200
    assert all(len(job.stages) == 4 and job.ended == [None] for job in client.jobs)
    assert client.closed


async def test_a_graph_within_a_graph(model: ChatLLMSched, client: FakeClient, connection: Connection) -> None:
    inner = graph_of({START: ["x"], "x": ["y"], "y": [END]}, speaks(model), "Inner")
    edges = {START: ["a"], "a": ["sub"], "sub": ["b"], "b": [END]}
    graph = graph_of(edges, lambda name: inner if name == "sub" else speaks(model)(name), "Outer")
    await graph.ainvoke({"said": []})
    await asyncio.to_thread(connection.close)
    (job,) = client.jobs
    assert job.after == {"a": [], "sub.x": ["a"], "sub.y": ["sub.x"], "b": ["sub.x", "sub.y"]}


async def test_a_call_in_a_tool_in_a_node_is_of_the_graphs_job(
    model: ChatLLMSched, client: FakeClient, connection: Connection
) -> None:
    @tool
    async def ask(text: str) -> str:
        """Asks."""
        return str((await (ChatPromptTemplate.from_template("{text}") | model).ainvoke({"text": text})).content)

    async def node(_: State) -> dict[str, Any]:
        first = await ask.ainvoke({"text": "1"})
        return {"said": [first, await ask.ainvoke({"text": "2"})]}

    await graph_of({START: ["n"], "n": [END]}, lambda name: node).ainvoke({"said": []})
    await asyncio.to_thread(connection.close)
    (job,) = client.jobs
    assert job.after == {"n": [], "n/2": ["n"]}


class Asks(BaseRetriever):
    """Asks a model what to look for, as LangChain's MultiQueryRetriever does."""

    chain: Any

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        said = self.chain.invoke({"text": query}, {"callbacks": run_manager.get_child()})
        return [Document(str(said.content))]


async def test_a_call_in_a_retriever_is_of_the_graphs_job(
    model: ChatLLMSched, client: FakeClient, connection: Connection
) -> None:
    retriever = Asks(chain=ChatPromptTemplate.from_template("{text}") | model)

    def node(_: State) -> dict[str, Any]:
        return {"said": [each.page_content for each in retriever.invoke("lakes")]}

    edges = {START: ["a"], "a": ["n"], "n": [END]}
    graph = graph_of(edges, lambda name: node if name == "n" else speaks_blocking(model)(name))
    found = await asyncio.to_thread(graph.invoke, {"said": []})
    assert found["said"] == ["fine", "fine"]
    await asyncio.to_thread(connection.close)
    (job,) = client.jobs
    assert (job.after, job.ended) == ({"a": [], "n": ["a"]}, [None])
    assert not runs._runs


def test_retrievers_alone_are_roots(model: ChatLLMSched, client: FakeClient, connection: Connection) -> None:
    Asks(chain=ChatPromptTemplate.from_template("{text}") | model).invoke("lakes")
    with pytest.raises(KeyError):
        Asks(chain=ChatPromptTemplate.from_template("{text}") | model | (lambda _: {}["nothing"])).invoke("lakes")
    connection.close()
    assert [(job.application, job.input) for job in client.jobs] == [("asks", {"input": "lakes"})] * 2
    assert [type(job.ended[0]) for job in client.jobs] == [type(None), KeyError]
    assert not runs._runs


async def test_calls_in_one_node_come_after_those_that_it_has_seen(
    model: ChatLLMSched, client: FakeClient, connection: Connection
) -> None:
    both = asyncio.Barrier(2)

    async def answer(name: str, options: Any) -> str:
        if options["messages"][0]["content"] in ("left", "right"):
            await both.wait()  # neither has ended when the other is added
        return "fine"

    client.answer = answer

    async def node(_: State) -> dict[str, Any]:
        await model.ainvoke("plan")
        await asyncio.gather(model.ainvoke("left"), model.ainvoke("right"))
        await model.ainvoke("join")
        return {"said": []}

    edges = {START: ["a"], "a": ["n"], "n": ["b"], "b": [END]}
    graph = graph_of(edges, lambda name: node if name == "n" else speaks(model)(name))
    await graph.ainvoke({"said": []})
    await asyncio.to_thread(connection.close)
    after = {name: sorted(before) for name, before in client.jobs[0].after.items()}
    assert after == {
        "a": [],
        "n": ["a"],
        "n/2": ["n"],
        "n/3": ["n"],
        "n/4": ["n/2", "n/3"],
        "b": ["n", "n/2", "n/3", "n/4"],
    }


def test_calls_of_a_chain_follow_each_other(model: ChatLLMSched, client: FakeClient, connection: Connection) -> None:
    (model | (lambda answer: answer.content) | model).invoke("hi")
    connection.close()
    (job,) = client.jobs
    assert (job.application, job.after) == ("runnable-sequence", {"llm": [], "llm/2": ["llm"]})


def agent_of(model: ChatLLMSched, tools: list[Any]) -> Any:
    """An agent as LangGraph's documentation writes it."""
    bound = model.bind_tools(tools)

    async def agent(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await bound.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("agent", agent)
    builder.add_node("tools", ToolNode(tools))
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", tools_condition)
    builder.add_edge("tools", "agent")
    return builder.compile(name="agent")


def calls_then_answers(times: int) -> Callable[..., str]:
    call = json.dumps({"tool_calls": [{"name": "sample_double", "args": {"n": 4}}]})

    def answer(name: str, options: Any) -> str:
        turns = [each["role"] for each in options["messages"]].count("assistant")
        return call if turns < times else '{"answer": "eight"}'

    return answer


async def test_tools_of_the_cluster_are_stages_too(
    model: ChatLLMSched, client: FakeClient, connection: Connection
) -> None:
    client.answer, client.tool_answer = calls_then_answers(2), 8
    found = await agent_of(model, [llmsched_tool(double, connection=connection)]).ainvoke(
        {"messages": [HumanMessage("2 * 4?")]}
    )
    assert [each.content for each in found["messages"]] == ["2 * 4?", "", "8", "", "8", "eight"]
    await asyncio.to_thread(connection.close)
    (job,) = client.jobs
    assert job.after == {
        "agent": [],
        "sample.double": ["agent"],
        "agent/2": ["sample.double"],
        "sample.double/2": ["agent/2"],
        "agent/3": ["sample.double/2"],
    }
    assert job.stages[1].options == {"tool": "sample.double", "args": {"n": 4}, "after": ["agent"]}
    assert job.input == {"messages": [{"human": "2 * 4?"}]}


async def test_a_tool_outside_of_any_graph_is_a_job(client: FakeClient, connection: Connection) -> None:
    client.tool_answer = 8
    used = llmsched_tool(double, connection=connection, application="tools", timeout=2.0)
    assert (used.name, used.description, list(used.args)) == ("sample_double", "Doubles a number.", ["n"])
    assert await used.ainvoke({"n": 4}) == 8
    assert used.invoke({"n": 4}) == 8
    await asyncio.to_thread(connection.close)
    assert [(job.application, job.names, job.ended) for job in client.jobs] == [
        ("tools", ["sample.double"], [None])
    ] * 2
    assert client.jobs[0].stages[0].options["timeout"] == 2.0


async def test_a_tool_that_fails_is_told_to_the_model_if_wanted(client: FakeClient, connection: Connection) -> None:
    def fail(*_: Any) -> Any:
        failure = Failure(reason="TOOL_FAILED", message="too large")
        stage = Stage(
            stage_id="sample.double",
            name="sample.double",
            kind=StageKind.TOOL,
            state=StageState.FAILED,
            failure=failure,
        )
        raise StageFailedError("jobs/1", stage)

    client.tool_answer = fail
    with pytest.raises(ToolException, match="too large"):
        await llmsched_tool(double, connection=connection).ainvoke({"n": 4})
    with pytest.raises(ToolException, match="too large"):
        llmsched_tool(double, connection=connection).invoke({"n": 4})
    told = llmsched_tool(double, connection=connection, handle_tool_error=True)
    assert "too large" in await told.ainvoke({"n": 4})


def test_tools_by_name() -> None:
    found = llmsched_tool("hash.digest", name="digest", description="Hashes.")
    assert (found.tool, found.name, found.description) == ("hash.digest", "digest", "Hashes.")
    other = llmsched_tool("far.away", description="Far.", args_schema={"type": "object", "properties": {}})
    assert (other.tool, other.name, other.args) == ("far.away", "far_away", {})
    with pytest.raises(llmsched.tools.UnknownToolError):
        llmsched_tool("far.away")
    with pytest.raises(TypeError, match="no tool"):
        llmsched_tool(len)


async def test_a_graph_that_fails_fails_its_job(
    model: ChatLLMSched, client: FakeClient, connection: Connection
) -> None:
    async def node(_: State) -> dict[str, Any]:
        await model.ainvoke("hi")
        raise ValueError("nonsense")

    with pytest.raises(ValueError, match="nonsense"):
        await graph_of({START: ["n"], "n": [END]}, lambda name: node).ainvoke({"said": []})
    await asyncio.to_thread(connection.close)
    assert [str(error) for error in client.jobs[0].ended] == ["nonsense"]


async def test_a_graph_that_calls_no_model_opens_no_job(client: FakeClient, connection: Connection) -> None:
    await graph_of({START: ["n"], "n": [END]}, lambda name: lambda _: {"said": ["x"]}).ainvoke({"said": []})
    assert client.jobs == []


async def test_a_cancelled_graph_cancels_its_job(
    model: ChatLLMSched, client: FakeClient, connection: Connection
) -> None:
    asked, loop = asyncio.Event(), asyncio.get_running_loop()

    async def never(*_: Any) -> str:
        loop.call_soon_threadsafe(asked.set)
        await asyncio.Event().wait()
        return ""

    client.answer = never
    going = asyncio.create_task(graph_of({START: ["n"], "n": [END]}, speaks(model)).ainvoke({"said": []}))
    await asked.wait()
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    await asyncio.to_thread(connection.close)
    assert [type(error) for error in client.jobs[0].ended] == [asyncio.CancelledError]
    assert not runs._runs


@pytest.mark.parametrize("others", [["a"], []], ids=["with a job", "without"])
async def test_what_outlives_its_graph_has_a_job_of_its_own(
    model: ChatLLMSched, client: FakeClient, connection: Connection, others: list[str]
) -> None:
    begun, over = asyncio.Event(), asyncio.Event()
    late: list[asyncio.Task[Any]] = []

    async def wait_and_ask(text: str) -> Any:
        begun.set()
        await over.wait()
        return (await model.ainvoke(text)).content

    async def node(_: State) -> dict[str, Any]:
        late.append(asyncio.create_task(RunnableLambda(wait_and_ask).ainvoke("late")))
        await begun.wait()
        return {"said": []}

    edges = {START: ["n", *others], "n": [END], **{each: [END] for each in others}}
    graph = graph_of(edges, lambda name: node if name == "n" else speaks(model)(name))
    await graph.ainvoke({"said": []})
    over.set()
    assert await late[0] == "fine"
    await asyncio.to_thread(connection.close)
    assert [(job.names, job.ended) for job in client.jobs] == [([each], [None]) for each in [*others, "n"]]
    assert not runs._runs


async def test_a_call_that_comes_as_its_graph_ends_has_a_job_of_its_own(client: FakeClient) -> None:
    begun, over = asyncio.Event(), asyncio.Event()
    late: list[asyncio.Task[Any]] = []

    class Slow(Connection):
        async def do(self, work: Any) -> Any:
            begun.set()
            await over.wait()  # its job is known, and not opened yet
            return await super().do(work)

    slow = Slow(lambda: client)

    async def node(_: State) -> dict[str, Any]:
        late.append(asyncio.create_task(ChatLLMSched(connection=slow).ainvoke("late")))
        await begun.wait()
        return {"said": []}

    await graph_of({START: ["n"], "n": [END]}, lambda name: node).ainvoke({"said": []})
    over.set()
    assert (await late[0]).content == "fine"
    await asyncio.to_thread(slow.close)
    assert [(job.application, job.ended) for job in client.jobs] == [("n", [None])]


def test_nobody_writes_down_prompts_for_us(model: ChatLLMSched, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []
    monkeypatch.setattr("langchain_core.callbacks.manager.get_buffer_string", lambda *all: str(written.append(all)))
    model.invoke("hi")
    assert not written


async def test_a_stream_that_is_left_cancels_its_job(
    model: ChatLLMSched, client: FakeClient, connection: Connection
) -> None:
    graph = graph_of(DIAMOND, speaks(model))
    stream = graph.astream({"said": []})
    await anext(stream)
    await stream.aclose()
    await asyncio.to_thread(connection.close)
    assert [type(error) for error in client.jobs[0].ended] == [asyncio.CancelledError]


async def test_waiting_for_a_person_ends_the_job_and_going_on_opens_another(
    model: ChatLLMSched, client: FakeClient, connection: Connection
) -> None:
    async def ask(_: State) -> dict[str, Any]:
        return {"said": [interrupt("May I?")]}

    edges = {START: ["a"], "a": ["ask"], "ask": ["b"], "b": [END]}
    graph = graph_of(edges, lambda name: ask if name == "ask" else speaks(model)(name), checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t-1"}}
    found = await graph.ainvoke({"said": []}, config)
    assert found["__interrupt__"][0].value == "May I?"
    found = await graph.ainvoke(Command(resume="yes"), config)
    assert found["said"] == ["fine", "yes", "fine"]
    await asyncio.to_thread(connection.close)
    assert [(job.names, job.ended, job.labels) for job in client.jobs] == [
        (["a"], [None], {"langgraph_thread": "t-1"}),
        (["b"], [None], {"langgraph_thread": "t-1"}),
    ]


async def test_a_process_that_ends_cancels_what_is_open(
    model: ChatLLMSched, client: FakeClient, connection: Connection
) -> None:
    stream = graph_of(DIAMOND, speaks(model)).astream({"said": []})
    await anext(stream)  # somebody holds the stream, and the process ends
    await asyncio.to_thread(connection.close)
    assert [type(error) for error in client.jobs[0].ended] == [asyncio.CancelledError]
    assert client.closed
    await stream.aclose()


@pytest.mark.parametrize(
    ("name", "application"),
    [
        ("LangGraph", "langgraph"),
        ("RunnableSequence", "runnable-sequence"),
        ("My agent (v2)", "my-agent-v2"),
        ("2 fast", "fast"),
        ("…", "langchain"),
        ("x" * 80, "x" * 63),
    ],
)
def test_graphs_give_their_names_to_applications(name: str, application: str) -> None:
    assert application_of(name) == application


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        (None, "tiny"),
        ({"langgraph_node": "agent", "langgraph_checkpoint_ns": f"agent:{uuid4()}"}, "agent"),
        ({"langgraph_node": "b", "langgraph_checkpoint_ns": f"a b:{uuid4()}|1|b:{uuid4()}"}, "a_b.b"),
        ({"langgraph_node": "…"}, "_"),
        ({"langgraph_node": "-"}, "llm"),
    ],
)
def test_nodes_give_their_names_to_stages(metadata: Any, name: str) -> None:
    assert stage_name_of(metadata, "tiny") == name
