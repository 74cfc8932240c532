"""An agent that calculates, written as LangGraph's quickstart writes it, with one changed line.

    pip install "llmsched[langchain]" langgraph
    llmsched up --engine sim                                  # in a terminal of its own
    python examples/langgraph_agent.py "Add 3 and 4."

The graph runs in this process. What its model is asked becomes stages of one open job, which the cluster schedules
among all others: `llmsched jobs` and `llmsched get JOB` show it. An engine simulator makes its answers up, so the
agent calls tools at random until it answers; with `--engine sglang` it calculates.
"""

from __future__ import annotations

import operator
import sys
from typing import Annotated, Any, Literal

from langchain_core.messages import AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

from llmsched.langchain import ChatLLMSched

# The one changed line. Before: model = init_chat_model("gpt-5", temperature=0)
model = ChatLLMSched(max_tokens=200, temperature=0)


@tool
def multiply(a: int, b: int) -> int:
    """Multiply `a` and `b`.

    Args:
        a: First int
        b: Second int
    """
    return a * b


@tool
def add(a: int, b: int) -> int:
    """Adds `a` and `b`.

    Args:
        a: First int
        b: Second int
    """
    return a + b


tools = [add, multiply]
tools_by_name = {tool.name: tool for tool in tools}
model_with_tools = model.bind_tools(tools)


class MessagesState(TypedDict):
    messages: Annotated[list[AnyMessage], operator.add]
    llm_calls: int


def llm_call(state: MessagesState) -> dict[str, Any]:
    """The model decides whether to call a tool or not."""
    system = SystemMessage("You are a helpful assistant tasked with performing arithmetic on a set of inputs.")
    return {
        "messages": [model_with_tools.invoke([system, *state["messages"]])],
        "llm_calls": state.get("llm_calls", 0) + 1,
    }


def tool_node(state: MessagesState) -> dict[str, Any]:
    """Performs the tool calls."""
    result = []
    for tool_call in state["messages"][-1].tool_calls:  # type: ignore[union-attr]
        observation = tools_by_name[tool_call["name"]].invoke(tool_call["args"])
        result.append(ToolMessage(content=str(observation), name=tool_call["name"], tool_call_id=tool_call["id"]))
    return {"messages": result}


def should_continue(state: MessagesState) -> Literal["tool_node", "__end__"]:
    """Goes on while the model calls tools."""
    return "tool_node" if state["messages"][-1].tool_calls else END  # type: ignore[union-attr]


builder = StateGraph(MessagesState)
builder.add_node("llm_call", llm_call)
builder.add_node("tool_node", tool_node)
builder.add_edge(START, "llm_call")
builder.add_conditional_edges("llm_call", should_continue, ["tool_node", END])
builder.add_edge("tool_node", "llm_call")
agent = builder.compile(name="calculator")

if __name__ == "__main__":
    question = " ".join(sys.argv[1:]) or "Add 3 and 4."
    answer = agent.invoke({"messages": [HumanMessage(question)], "llm_calls": 0})
    for message in answer["messages"]:
        message.pretty_print()
    print(f"\n{answer['llm_calls']} calls, all of job {answer['messages'][-1].response_metadata['job']}")
