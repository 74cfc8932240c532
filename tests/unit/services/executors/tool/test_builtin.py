"""Running generated code against tests, and finding it in answers."""

import json
from typing import Any

import pytest

from llmsched.applications.code_generation.problems import read_problem, read_problems
from services.executors.tool.builtin import REPORT_CHARACTERS, extract_code, find_code, run_tests

ADD = "def add(a, b):\n    return a + b\n"
CHECK = "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(0, 0) == 0\n"


def verdict(code: str, tests: str = "", entry_point: str | None = None, **more: Any) -> tuple[str, str]:
    report = run_tests(code, tests, entry_point, **more)
    assert report["passed"] == (report["exit"] == "passed")
    assert report["seconds"] > 0
    assert set(report["isolation"]) == {"backend", "isolated", "not_isolated"}
    json.dumps(report)
    return report["exit"], report["report"]


@pytest.mark.parametrize(
    ("tests", "entry_point"),
    [
        (CHECK, "add"),
        ("assert add(1, 2) == 3\nassert add(0, 0) == 0", None),
        ("assert candidate(1, 2) == 3\nassert 2 > 1", "add"),
    ],
)
def test_both_kinds_of_tests_pass(tests: str, entry_point: str | None) -> None:
    assert verdict(ADD, tests, entry_point) == ("passed", "All 2 assertions hold.")


def test_every_failed_assertion_is_shown_with_both_values() -> None:
    exit_, report = verdict(ADD.replace("+", "-"), CHECK, "add")
    assert exit_ == "failed"
    assert report == ("1 of 2 assertions failed.\nassert candidate(1, 2) == 3\n  left side:  -1\n  right side: 3")


def test_an_exception_is_shown_with_the_lines_that_led_to_it() -> None:
    exit_, report = verdict("def add(a, b):\n    return a / 0\n", CHECK, "add")
    assert exit_ == "failed"
    assert "ZeroDivisionError" in report
    assert "line 2 of the tests: assert candidate(1, 2) == 3" in report
    assert "line 2 of the code: return a / 0" in report


def test_code_that_cannot_be_run_is_an_error() -> None:
    assert verdict("def add(a, b:\n", CHECK, "add")[0] == "error"
    assert verdict("raise SystemExit(0)", CHECK, "add")[0] == "error"
    assert "NameError: name 'List' is not defined" in verdict("def f(x: List): ...", "")[1]
    assert verdict("def sub(): ...\nclass X: ...", CHECK, "add") == (
        "error",
        "The code does not define 'add'; it defines sub, X.",
    )


def test_an_endless_loop_is_located() -> None:
    exit_, report = verdict("def add(a, b):\n    while True:\n        pass\n", CHECK, "add", timeout=0.3)
    assert exit_ == "timeout"
    assert "Timed out after 0.3 s" in report
    assert "of the code" in report


def test_code_that_ignores_its_time_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.executors.tool.builtin._START_SECONDS", 0.3)
    stubborn = "import signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\nwhile True: pass"
    assert verdict(stubborn, timeout=0.2) == ("timeout", "Timed out after 0.2 s and did not react.")


@pytest.mark.parametrize(
    ("code", "exit_"),
    [
        ("import os; os._exit(0)", "crashed"),
        ("import ctypes; ctypes.string_at(0)", "crashed"),
        ("x = [0] * 10**10", "memory"),
        ("while True: print('x' * 1000)", "output"),
        ("import sys; sys.stdout.close()", "crashed"),
        ("print('passed', end='')", "passed"),
        ("import builtins; builtins.print = None", "crashed"),
    ],
)
def test_code_that_misbehaves_is_a_result(code: str, exit_: str) -> None:
    assert verdict(code, timeout=5)[0] == exit_


def test_swallowed_exceptions_do_not_hide_the_timeout() -> None:
    code = "while True:\n    try:\n        pass\n    except Exception:\n        pass"
    assert verdict(code, timeout=0.3)[0] == "timeout"


def test_a_report_stays_short() -> None:
    tests = "\n".join(f"assert 'x' * 9000 == {i}" for i in range(500))
    exit_, report = verdict("", tests)
    assert exit_ == "failed"
    assert "500 of 500" in report
    assert "and 497 more" in report
    assert len(report) <= REPORT_CHARACTERS + 10


def test_a_prelude_brings_what_the_prompt_had() -> None:
    problem = read_problem("HumanEval/38")
    function = problem.prompt.removeprefix(problem.prelude) + problem.canonical_solution
    assert verdict(function, problem.tests, problem.entry_point)[0] == "failed"
    assert verdict(function, problem.tests, problem.entry_point, prelude=problem.prelude)[0] == "passed"


@pytest.mark.slow
@pytest.mark.parametrize(
    "problems",
    [
        pytest.param(slice(10), id="ten"),
        pytest.param(slice(10, None), id="all the others", marks=[pytest.mark.full, pytest.mark.timeout(600)]),
    ],
)
def test_the_canonical_solutions_pass_and_empty_ones_do_not(problems: slice) -> None:
    for problem in list(read_problems().values())[problems]:
        whole = problem.prompt + problem.canonical_solution
        assert verdict(whole, problem.tests, problem.entry_point)[0] == "passed", problem.task_id
        empty = problem.prompt + "    return None\n"
        assert verdict(empty, problem.tests, problem.entry_point)[0] == "failed", problem.task_id


@pytest.mark.parametrize(
    "answer",
    [
        ADD,
        f"```python\n{ADD}```",
        f"Here you are:\n\n```py\n{ADD}```\nIt adds.",
        f"```\n{ADD}```",
        f"```Python\r\n{ADD}```".replace("\n", "\r\n"),
        f"```python\n{ADD}",
        f"~~~python\n{ADD}~~~",
        f"Run it:\n```bash\npip install x\n```\n```python\n{ADD}```",
        f"Sure, this adds:\n\n{ADD}\nThis function returns the sum.",
        "1. First:\n   ```python\n   def add(a, b):\n       return a + b\n   ```\n",
    ],
)
def test_code_is_found_in_answers(answer: str) -> None:
    namespace: dict[str, Any] = {}
    exec(find_code(answer), namespace)
    assert namespace["add"](1, 2) == 3
    assert extract_code(answer)["valid"]


def test_blocks_are_joined_or_the_best_is_taken() -> None:
    assert find_code(f"```python\nimport math\n```\nand\n```python\n{ADD}```") == f"import math\n\n{ADD}"
    assert find_code(f"```python\nx = (\n```\n```python\n{ADD}```") == ADD


def test_an_answer_without_code_is_given_back() -> None:
    assert extract_code("I cannot do that.") == {"code": "I cannot do that.", "valid": False}
    assert extract_code("")["code"] == ""
