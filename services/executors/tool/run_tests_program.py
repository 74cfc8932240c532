"""Runs inside a sandbox: generated code against its tests. Standard library only.

It reads `task.json` from its folder: `prelude`, `code`, `tests` (Python source), `entry_point` (or null), `seconds`
and `token`. Its verdict is the last line of standard output: the token, then JSON with `exit`, `report` and
`checks`. The token keeps what the code prints from being taken for a verdict; code that sets out to cheat can
still cheat, as with every test that runs in the process of the code it tests.
"""

from __future__ import annotations

import ast
import json
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any

_CODE, _TESTS, _PRELUDE = "solution.py", "tests.py", "prelude.py"
#: How many failures a report shows, and how long a shown value may be.
_SHOWN, _VALUE = 3, 200


class TimeUp(BaseException):
    """Not an Exception: code that swallows all exceptions must not swallow this one."""


class Checks:
    """Counts assertions, and remembers those that failed."""

    def __init__(self) -> None:
        self.count = 0
        self.failures: list[str] = []

    def record(self, source: str, passed: object, *sides: object) -> None:
        """An assertion was evaluated; `sides` are the two values that were compared."""
        self.count += 1
        if passed:
            return
        lines = [f"assert {source}"]
        if len(sides) == 2:
            lines += [f"  left side:  {_show(sides[0])}", f"  right side: {_show(sides[1])}"]
        self.failures.append("\n".join(lines))


class Rewriter(ast.NodeTransformer):
    """Turns each `assert` into a recorded check, so that one failure does not hide the others."""

    def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
        source = ast.unparse(node.test)
        if isinstance(node.test, ast.Compare) and len(node.test.ops) == 1:
            left, right = _stored("_left_", node.test.left), _stored("_right_", node.test.comparators[0])
            result = ast.Compare(_loaded("_left_"), node.test.ops, [_loaded("_right_")])
            call = _recorded(source, result, _loaded("_left_"), _loaded("_right_"))
            statements: list[ast.stmt] = [left, right, call]
        else:
            statements = [_recorded(source, node.test)]
        return [ast.fix_missing_locations(ast.copy_location(s, node)) for s in statements]


def judge(task: dict[str, Any], checks: Checks) -> tuple[str, str]:
    """How the code did: one of passed, failed, error, timeout, memory; and a report for whoever mends it."""
    namespace: dict[str, Any] = {"__name__": "solution", "_record_": checks.record}
    stage, what = _CODE, "The code"
    # dont_inherit: the future imports of this file are not those of the code.
    try:
        if task["prelude"]:
            exec(compile(task["prelude"], _PRELUDE, "exec", dont_inherit=True), namespace)
        exec(compile(task["code"], _CODE, "exec", dont_inherit=True), namespace)
        entry = task["entry_point"]
        if entry and not callable(namespace.get(entry)):
            return "error", _no_entry(entry, task["code"])
        stage, what = _TESTS, "A test"
        if entry:
            namespace["candidate"] = namespace[entry]
        tests = Rewriter().visit(ast.parse(task["tests"], _TESTS))
        exec(compile(tests, _TESTS, "exec", dont_inherit=True), namespace)
        check: Callable[[Any], None] | None = namespace.get("check")
        if entry and callable(check):
            check(namespace[entry])
    except TimeUp:
        trace = _trace(task)
        return "timeout", f"Timed out after {task['seconds']:g} s, probably an endless loop.{trace}"
    except MemoryError:
        return "memory", f"{what} needed too much memory."
    except BaseException as error:
        text = "".join(traceback.format_exception_only(error)).strip()
        if stage == _CODE:
            return "error", f"The code cannot be run: {text}{_trace(task)}"
        return "failed", _summary(checks, f"{what} raised {text}{_trace(task)}")
    return ("failed", _summary(checks)) if checks.failures else ("passed", _summary(checks))


def _summary(checks: Checks, raised: str = "") -> str:
    if not checks.failures and not raised:
        return f"All {checks.count} assertions hold." if checks.count else "The tests ran without an error."
    parts = [f"{len(checks.failures)} of {checks.count} assertions failed."] if checks.failures else []
    parts += checks.failures[:_SHOWN]
    if len(checks.failures) > _SHOWN:
        parts.append(f"... and {len(checks.failures) - _SHOWN} more.")
    return "\n".join([*parts, raised] if raised else parts)


def _trace(task: dict[str, Any]) -> str:
    """Where in the code or the tests the current exception came from, innermost last."""
    sources = {name: task[key].splitlines() for name, key in ((_CODE, "code"), (_TESTS, "tests"))}
    lines = []
    for frame in traceback.extract_tb(sys.exc_info()[2]):
        source = sources.get(frame.filename, [])
        if frame.lineno and frame.lineno <= len(source):
            place = f"line {frame.lineno} of the {'code' if frame.filename == _CODE else 'tests'}"
            lines.append(f"\n  {place}: {source[frame.lineno - 1].strip()[:_VALUE]}")
    return "".join(lines[-_SHOWN:])


def _no_entry(entry: str, code: str) -> str:
    names = [node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return f"The code does not define {entry!r}; it defines {', '.join(names) or 'nothing'}."


def _show(value: object) -> str:
    try:
        text = repr(value)
    except Exception as error:
        text = f"<a {type(value).__name__} whose repr raises {type(error).__name__}>"
    return text if len(text) <= _VALUE else f"{text[:_VALUE]}... ({len(text)} characters)"


def _loaded(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _stored(name: str, value: ast.expr) -> ast.Assign:
    return ast.Assign([ast.Name(name, ast.Store())], value)


def _recorded(source: str, *values: ast.expr) -> ast.Expr:
    return ast.Expr(ast.Call(_loaded("_record_"), [ast.Constant(source[:_VALUE]), *values], []))


def _time_up(signum: int, frame: FrameType | None) -> None:
    raise TimeUp


def main() -> None:
    with open("task.json", encoding="utf-8") as file:
        task = json.load(file)
    signal.signal(signal.SIGALRM, _time_up)
    signal.setitimer(signal.ITIMER_REAL, task["seconds"])
    checks = Checks()
    exit_, report = judge(task, checks)
    signal.setitimer(signal.ITIMER_REAL, 0)
    verdict = {"exit": exit_, "report": report, "checks": checks.count}
    # The code may have replaced sys.stdout, or left half a line on it.
    print("\n" + task["token"] + json.dumps(verdict), file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    main()
