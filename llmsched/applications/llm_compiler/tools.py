"""Tools of the LLMCompiler application: what a plan may call, and the joiner's answer read and judged."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from llmsched.applications.answers import in_words, read_object
from llmsched.applications.llm_compiler import facts
from llmsched.tools import tool

_MAX_ANSWER = 300
# Bounds are part of the schema that plans are held to: a small model would otherwise write digits on and on.
Number = Annotated[int, Field(ge=0, le=999_999_999)]


class Joined(TypedDict):
    """What the joiner decided."""

    answer: str
    done: bool
    problems: list[str]


@tool(name="facts.find")
def find(name: Annotated[str, Field(max_length=20)]) -> int:
    """Height of a mountain or tower, depth of a lake, length of a river, diameter of a planet, area of a country.

    Args:
        name: Of what, for example K2.
    """
    return facts.find(name).value


@tool(name="number.combine")
def combine(operation: Literal["sum", "difference", "ratio", "larger", "smaller"], a: Number, b: Number) -> float:
    """Calculate with two whole numbers.

    Args:
        operation: What to calculate.
        a: The first number, or a step such as <s1>.
        b: The second number, or a step such as <s2>.
    """
    if operation == "ratio" and b == 0:
        raise ValueError("a ratio to 0 does not exist")
    results = {
        "sum": a + b,
        "difference": a - b,
        "ratio": a / b if b else 0.0,
        "larger": max(a, b),
        "smaller": min(a, b),
    }
    return round(results[operation], 4)


@tool(name="compiler.join")
def join(text: str, steps: list[dict[str, Any]]) -> Joined:
    """Read the joiner's answer, and say what went wrong on the way to it.

    Args:
        text: What the joining model wrote: an object with `action` and `answer`.
        steps: The steps of the plan with their outputs and errors.
    """
    found, problem = read_object(text)
    problems = [
        f"{step.get('id')} {step.get('tool')}: {in_words(str(step['error']))}" for step in steps if step.get("error")
    ]
    if not steps:
        problems.append("the plan had no step, or could not be run")
    if problem:
        problems.append(problem)
    answer = str(found.get("answer", "")).strip()[:_MAX_ANSWER]
    if not answer:
        problems.append("the joiner gave no answer")
    # Only a clear word ends it: whoever cannot say it gets the second plan.
    return {"answer": answer, "done": bool(answer) and found.get("action") == "finish", "problems": problems}
