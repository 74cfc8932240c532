"""A calibration file's numbers as tables, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmsched.cli.output import console, print_table
from services.executors.calibrate.document import calibration_of

STEPS = ("batch b", "steps", "l(b), ms", "fit, ms", "s(b)", "request, s", "predicted, s")
PROMPTS = ("prompt tokens", "first token, ms", "predicted, ms")


def step_rows(found: Mapping[str, Any]) -> list[list[str]]:
    """A row for each batch size, the check included."""
    calibration = calibration_of(found)
    check = [] if found["check"] is None else [found["check"]]
    rows = []
    for row in sorted([*found["decode"], *check], key=lambda row: row["batch"]):
        requests = [each for each in found["requests"] if each["batch"] == row["batch"]]
        seconds, predicted = (
            sum(each[name] for each in requests) / len(requests) for name in ("seconds", "predicted_seconds")
        )
        rows.append(
            [
                f"{row['batch']}{' (check)' if row in check else ''}",
                f"{row['steps']:.0f}",
                f"{1e3 * row['seconds']:.2f} ± {1e3 * row['deviation']:.2f}",
                f"{1e3 * row['predicted_seconds']:.2f}",
                f"{calibration.slowdown(row['batch']):.2f}",
                f"{seconds:.2f}",
                f"{predicted:.2f}",
            ]
        )
    return rows


def prompt_rows(found: Mapping[str, Any]) -> list[list[str]]:
    """A row for each prompt, the shortest first."""
    return [
        [str(row["tokens"]), f"{1e3 * row['seconds']:.1f}", f"{1e3 * row['predicted_seconds']:.1f}"]
        for row in sorted(found["prefill"], key=lambda row: row["tokens"])
    ]


def price_words(found: Mapping[str, Any]) -> str:
    """What a prompt token costs."""
    return f"A prompt token costs {1e6 * calibration_of(found).prefill:.0f} µs."


def priority_words(found: Mapping[str, Any]) -> str:
    """What priorities do, in a sentence."""
    priority = found["priority"]
    if "not_tried" in priority:
        return f"Priorities were not tried: {priority['not_tried']}."
    verb = "overtakes those that wait" if priority["overtakes"] else "waits behind those that came before it"
    running = " and interrupts one that runs" if priority["preempts"] else ""
    return (
        f"A request of high priority {verb}{running}: first token after {priority['high_seconds']:.2f} s, "
        f"theirs after {priority['low_seconds']:.2f} s."
    )


def show(found: Mapping[str, Any]) -> None:
    """Prints it all to standard output."""
    out = console()
    out.print(f"{found['engine']['version']}, {found['engine']['model']}")
    print_table(STEPS, step_rows(found), empty="no steps")
    print_table(PROMPTS, prompt_rows(found), empty="no prompts")
    out.print(price_words(found))
    out.print(priority_words(found))


def markdown(found: Mapping[str, Any]) -> list[str]:
    """The same as lines of Markdown."""
    tables = [(STEPS, step_rows(found)), (PROMPTS, prompt_rows(found))]
    lines = []
    for columns, rows in tables:
        lines += [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
        lines += [f"| {' | '.join(row)} |" for row in rows]
        lines.append("")
    return [*lines, f"{price_words(found)} {priority_words(found)}"]
