"""What a profile believes before a job has shown anything."""

from __future__ import annotations

import pytest

from llmsched.cli.priors import priors


def variable(*bins: list[float], optional: bool = False) -> dict[str, object]:
    return {"bins": {"values": bins}, "optional": optional}


def test_presence_and_mean_follow_from_the_tables() -> None:
    content = {
        "variables": [
            variable([1.0, 3.0], [10.0]),
            variable([4.0], [8.0], optional=True),
            variable([7.0], optional=True),
        ],
        "parents": [[], [0], []],
        "tables": [[0.75, 0.25], [[0.6, 0.4, 0.0], [0.0, 0.0, 1.0]], [1.0, 0.0]],
    }
    first, second, never = priors(content)
    assert first == (1.0, pytest.approx(0.75 * 2.0 + 0.25 * 10.0))
    assert second.presence == pytest.approx(0.55, abs=0.02)
    assert second.mean == pytest.approx((0.3 * 4.0 + 0.25 * 8.0) / 0.55, abs=0.2)
    assert never == (0.0, 0.0)
    assert priors(content) == [first, second, never]
