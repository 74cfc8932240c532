"""What the planner shows of its work: metrics and spans, both only where somebody asked for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from services.common import names
from services.common.clock import Clock
from services.common.errors import DomainError
from services.common.telemetry import Place, Telemetry, job_place
from services.planner.core.model import Item, Unfolding
from services.planner.refusals import Reason
from services.state.records import JobRecord

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

#: What clients do wrong most, and what an alert waits for.
_FREQUENT = (Reason.APPLICATION_NOT_FOUND, Reason.INVALID_INPUT, Reason.PAYLOAD_TOO_LARGE, Reason.QUEUE_FULL)


class Instruments:
    """Metrics and spans of one planner."""

    def __init__(self, telemetry: Telemetry, clock: Clock) -> None:
        self._telemetry = telemetry
        self._clock = clock
        meter = telemetry.meter
        self._submitted = meter.create_counter(names.METRIC_SUBMITTED, "{job}", "Jobs that were accepted")
        self._refused = meter.create_counter(names.METRIC_REFUSED, "{job}", "Jobs that were refused")
        for reason in _FREQUENT if telemetry.metrics_enabled else ():
            # Prometheus sees no increase in a count that was not there before.
            self._refused.add(0, {names.FAILURE_REASON: reason.value})
        self._unfold_time = meter.create_histogram(
            names.METRIC_UNFOLD_TIME, "s", "From the scheduler's question about a stage to the answer"
        )

    def now(self) -> float:
        """When something begins that is going to be shown."""
        return self._clock.now()

    @contextmanager
    def counting_refusals(self) -> Iterator[None]:
        """Around calls that take jobs in."""
        try:
            yield
        except DomainError as error:
            # Not by application: whoever asks for applications that do not exist would make up a series for each.
            if self._telemetry.metrics_enabled:
                self._refused.add(1, {names.FAILURE_REASON: error.reason})
            raise

    def submitted(self, job: JobRecord, *, began: float) -> None:
        """A new job is durable."""
        if self._telemetry.metrics_enabled:
            self._submitted.add(1, {names.APPLICATION: job.application})
        # The job's own span is written when the job ends: a sibling of this one, or its parent where there is no other.
        if self._telemetry.enabled:
            parent = Place.parse(job.traceparent) or job_place(job.job_id, "")
            self._span(names.SPAN_SUBMIT, job, (), parent, began, {names.APPLICATION_VERSION: job.version})

    def unfolded(self, job: JobRecord, item: Item, unfolding: Unfolding, *, began: float) -> None:
        """A stage was unfolded."""
        if self._telemetry.metrics_enabled:
            self._unfold_time.record(max(0.0, self.now() - began), {names.APPLICATION: job.application})
        if self._telemetry.enabled:
            attributes: dict[str, AttributeValue] = {
                names.STAGE_ID: item.stage_id,
                names.STAGE_WIDTH: len(unfolding.tasks),
            }
            if unfolding.failure is not None:
                attributes[names.FAILURE_REASON] = unfolding.failure.reason
            error = unfolding.failure.message if unfolding.failure else ""
            parent = job_place(job.job_id, job.traceparent)
            # The same question may be asked again, by another leader: each answer is a span.
            parts = (item.stage_id, item.unfolding, began)
            self._span(names.SPAN_UNFOLD, job, parts, parent, began, attributes, error)

    def _span(
        self,
        name: str,
        job: JobRecord,
        parts: tuple[object, ...],
        parent: Place,
        began: float,
        attributes: dict[str, AttributeValue],
        error: str = "",
    ) -> None:
        # The span's name comes first: no stage is called so, and ids of stages, tasks and attempts begin with one.
        place = parent.of(job.job_id, name, *parts)
        common: dict[str, AttributeValue] = {
            names.JOB_ID: job.job_id,
            names.APPLICATION: job.application,
            names.OPENINFERENCE_KIND: "CHAIN",
        }
        self._telemetry.span(
            name,
            place,
            about=str(attributes.get(names.STAGE_ID, "")),
            parent=parent,
            start=began,
            end=self.now(),
            attributes=common | attributes,
            error=error,
        )
