"""Table I as published, and what our model may learn from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Role = Literal["fitted", "predicted"]

#: Mean JCT by policy and by number of executors of each kind.
TABLE: Mapping[str, Mapping[int, float]] = {
    "fcfs": {10: 893, 20: 347, 30: 155, 40: 87},
    "random": {10: 812, 20: 298, 30: 143, 40: 87},
    "ps-tcs": {10: 474, 20: 197, 30: 119, 40: 86},
}
POLICIES = tuple(TABLE)
EXECUTORS = (10, 20, 30, 40)
FITTED = (10, 40)  #: columns that parameters were fitted on; the others are predicted

#: PS-TCS serves applications in this order.
APPLICATION_ORDER = ("task_automation", "code_generation", "sorting")

#: Requests in the table's workload, in equal parts for the three applications.
JOBS = 500


def role(executors: int) -> Role:
    """What the cells of a column are to the model."""
    return "fitted" if executors in FITTED else "predicted"
