"""The tools every tool executor has: running generated Python code, and finding it in an LLM's answer."""

from __future__ import annotations

import ast
import json
import re
import secrets
import signal
import textwrap
from functools import cache
from pathlib import Path
from typing import Any, Literal

from typing_extensions import TypedDict

from llmsched.tools import tool
from services.executors.tool.sandbox import SandboxLimits, SandboxResult, open_sandbox

#: Characters of a report: it goes into the next prompt, where every token costs.
REPORT_CHARACTERS = 1500
#: Seconds that starting the sandbox and Python may take beside the tests.
_START_SECONDS = 3.0
_MAX_SECONDS = 60.0
_FENCE = re.compile(r"^[ \t]*(```+|~~~+)[ \t]*([^\n`]*)\n(.*?)(?:^[ \t]*\1[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_PYTHON = {"python", "py", "python3", "py3"}

Exit = Literal["passed", "failed", "error", "timeout", "memory", "output", "crashed"]


class Report(TypedDict):
    """What came of running code against tests."""

    passed: bool
    report: str
    exit: Exit
    seconds: float
    isolation: dict[str, Any]


class Code(TypedDict):
    """Code found in an answer; `valid` says whether it parses."""

    code: str
    valid: bool


@tool(name="python.run_tests", timeout=_MAX_SECONDS + 2 * _START_SECONDS)
def run_tests(
    code: str, tests: str, entry_point: str | None = None, timeout: float = 10.0, prelude: str = ""
) -> Report:
    """Run Python code against tests in a sandbox and tell whether it passed.

    Code that fails, hangs or crashes is a result like any other: `passed` is false and `report` says what went
    wrong, in a form that helps to mend the code.

    Args:
        code: Python source, or an answer that contains it in a Markdown code block.
        tests: Python source with assert statements, or with a function check(candidate) as in HumanEval.
        entry_point: Name of the function that check is called with; tests also find it as `candidate`.
        timeout: Seconds for code and tests together, at most 60.
        prelude: Python source that runs before the code, such as imports and helper functions.
    """
    seconds = min(max(timeout, 0.1), _MAX_SECONDS)
    token = secrets.token_hex(16)
    task = {
        "prelude": prelude,
        "code": find_code(code),
        "tests": tests,
        "entry_point": entry_point,
        "seconds": seconds,
        "token": token,
    }
    sandbox = open_sandbox()
    result = sandbox.run(
        sandbox.python("main.py"),
        files={"main.py": _program(), "task.json": json.dumps(task)},
        # The program watches the time itself and then knows the line; this is for code that will not be stopped.
        limits=SandboxLimits(seconds=seconds + _START_SECONDS),
    )
    exit_, report = _verdict(result, token, seconds)
    return {
        "passed": exit_ == "passed",
        "report": _shortened(report),
        "exit": exit_,
        "seconds": round(result.seconds, 3),
        "isolation": result.isolation.as_json(),
    }


@tool(name="python.extract_code", timeout=10)
def extract_code(answer: str) -> Code:
    """Find the Python code in an answer of a language model, with or without Markdown code blocks around it.

    Args:
        answer: The whole answer.
    """
    code = find_code(answer)
    return {"code": code, "valid": _parses(code)}


def find_code(answer: str) -> str:
    """The Python code in an answer.

    Of several code blocks those marked as Python count, else all; they are joined when that parses, else the
    longest that parses is taken. A block that was cut off counts. Text without a block is taken as it is, from
    the first line that begins a program if the whole does not parse.
    """
    answer = answer.replace("\r\n", "\n")
    blocks = [(m[2].strip().lower().split(" ")[0], textwrap.dedent(m[3])) for m in _FENCE.finditer(answer)]
    chosen = [body for language, body in blocks if language in _PYTHON] or [body for _, body in blocks]
    if not chosen:
        return _without_prose(answer)
    joined = "\n".join(chosen)
    if _parses(joined):
        return joined.strip("\n") + "\n"
    best = max(chosen, key=lambda body: (_parses(body), len(body)))
    return best.strip("\n") + "\n"


def _without_prose(answer: str) -> str:
    """The longest run of lines that parses and begins like a program; the answer itself where there is none."""
    if _parses(answer):
        return answer
    lines = answer.split("\n")
    starts = [
        i for i, line in enumerate(lines) if re.match(r"(import |from \w+ import|def |class |@|async def )", line)
    ]
    for start in starts[:1]:
        for end in range(len(lines), start, -1):
            if _parses(body := "\n".join(lines[start:end])):
                return body + "\n"
    return answer


def _parses(code: str) -> bool:
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _verdict(result: SandboxResult, token: str, seconds: float) -> tuple[Exit, str]:
    if result.ended == "output":
        return "output", "The code printed too much; it was ended."
    if result.ended == "timeout":
        return "timeout", f"Timed out after {seconds:g} s and did not react."
    for line in reversed(result.stdout.splitlines()):
        if line.startswith(token):
            verdict = json.loads(line.removeprefix(token))
            return verdict["exit"], verdict["report"]
    if result.exit_code > 128:
        number = result.exit_code - 128
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        return "crashed", f"The code crashed its process ({name})."
    last = "".join(f": {line}" for line in result.stderr.strip().splitlines()[-1:])
    kind: Exit = "memory" if "MemoryError" in last else "crashed"
    return kind, f"The code ended the program before the tests were done (exit status {result.exit_code}){last}"


def _shortened(report: str) -> str:
    if len(report) <= REPORT_CHARACTERS:
        return report
    half = REPORT_CHARACTERS // 2
    return f"{report[:half]}\n[...]\n{report[-half:]}"


@cache
def _program() -> str:
    return Path(__file__).with_name("run_tests_program.py").read_text(encoding="utf-8")
