"""The errors that the comments of a proto promise, as data."""

from __future__ import annotations

import re
from pathlib import Path

_PROTOS = Path(__file__).parents[2] / "protos" / "llmsched" / "api"


def documented_errors(proto: str, service: str) -> list[tuple[str, str]]:
    """Every RPC with every CODE/REASON in its comment. `proto` as "planner/v1/planner.proto"."""
    text = (_PROTOS / proto).read_text()
    found = re.search(rf"^service {service} \{{\n(.*?)^\}}", text, re.DOTALL | re.MULTILINE)
    assert found is not None
    errors, comment = [], ""
    for each in found[1].splitlines():
        line = each.strip()
        if line.startswith("//"):
            comment += line.removeprefix("//")
        elif rpc := re.match(r"rpc (\w+)\(", line):
            errors += [(rpc[1], f"{code}/{reason}") for code, reason in re.findall(r"\b([A-Z_]+)/([A-Z_]+)", comment)]
            comment = ""
    return errors
