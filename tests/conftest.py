"""Fixtures for all tests. Product settings of the caller's environment must not reach a test."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _no_product_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("LLMSCHED_", "OTEL_")) and not name.startswith("LLMSCHED_TEST_"):
            monkeypatch.delenv(name)
