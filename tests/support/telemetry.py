"""Telemetry that keeps what it is told, for tests."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from services.common.telemetry import Place


class RecordedTelemetry:
    """Keeps what is told."""

    def __init__(self, *, enabled: bool = True) -> None:
        self.enabled = self.metrics_enabled = enabled
        self.spans: list[dict[str, Any]] = []
        self._reader = InMemoryMetricReader()
        self.meter = MeterProvider([self._reader]).get_meter("test")

    def span(self, name: str, place: Place, **more: Any) -> None:
        self.spans.append({"name": name, "place": place, **more})

    def metrics(self) -> dict[str, Any]:
        """The first point of each metric."""
        return {name: points[0] for name, points in self._read().items()}

    def points(self, metric: str) -> list[Any]:
        """All points of one metric."""
        return self._read()[metric]

    def _read(self) -> dict[str, list[Any]]:
        data = self._reader.get_metrics_data()
        scopes = [scope for found in data.resource_metrics for scope in found.scope_metrics] if data else []
        return {metric.name: list(metric.data.data_points) for scope in scopes for metric in scope.metrics}
