"""How fast engines are, in one term of leadership: learned from reports, published when it has changed.

What a report has taught becomes durable together with the position behind it, so each report counts once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from hashlib import blake2b

from services.common.logs import get_logger
from services.profiler.core.calibration import Calibration, Report
from services.profiler.core.calibrator import Calibrator
from services.profiler.core.observation import StepsObserved
from services.state.records import EngineRecord

_log = get_logger(__name__)
_SIZES = 8  #: batch sizes that a calibration has at least


class Engines:
    def __init__(self) -> None:
        self._calibrators: dict[str, Calibrator] = {}
        self._records: dict[str, EngineRecord] = {}

    def load(self, records: Mapping[str, EngineRecord]) -> None:
        """Takes up what an earlier leader has left."""
        for name, one in records.items():
            try:
                self._calibrators[name] = Calibrator.of_plain(json.loads(one.learned))
            except (KeyError, TypeError, ValueError) as error:
                # Nothing lasts that cannot be measured again.
                _log.error("an engine is measured anew", action="engine_unreadable", executor=name, error=repr(error))
                continue
            self._records[name] = one

    def observe(self, reports: Iterable[StepsObserved]) -> list[EngineRecord]:
        """Learns from these; returns what is to be made durable."""
        changed: dict[str, EngineRecord] = {}
        for seen in reports:
            calibrator = self._calibrators.setdefault(seen.executor, Calibrator())
            calibrator.observe(seen.report)
            old = self._records.get(seen.executor)
            found = _record(seen.executor, calibrator, old, slots=seen.slots, at=seen.at)
            if found is not None:
                self._records[seen.executor] = changed[seen.executor] = replace(found, models=seen.models)
        return list(changed.values())

    def imported(self, executor: str, report: Report, at: float) -> EngineRecord | None:
        """What a calibration run has measured, in place of all that was known; `note` it when it is durable.

        The last one again changes nothing: then the record is what is known. None: it measures nothing.
        """
        digest = blake2b(json.dumps(report.plain()).encode(), digest_size=16).hexdigest()
        old = self._records.get(executor)
        if old is not None and old.imported == digest:
            return old
        calibrator = Calibrator()
        calibrator.observe(report)
        found = _record(executor, calibrator, old, slots=0 if old is None else old.slots, at=at)
        return None if found is None else replace(found, imported=digest)

    def note(self, record: EngineRecord) -> None:
        """It is durable."""
        self._records[record.executor] = record
        self._calibrators[record.executor] = Calibrator.of_plain(json.loads(record.learned))


def _record(
    executor: str, calibrator: Calibrator, old: EngineRecord | None, *, slots: int, at: float
) -> EngineRecord | None:
    """None while nothing is known."""
    now = calibrator.calibration(max(_SIZES, slots))
    if not any(now.weights):
        return None
    learned = _json(calibrator.plain())
    if old is not None and not now.moved_from(calibration_of(old)):
        return replace(old, learned=learned, measured_at=at, slots=slots)
    version = 1 if old is None else old.version + 1
    _log.info("calibration published", action="calibration_published", executor=executor, version=version)
    return EngineRecord(
        executor=executor,
        learned=learned,
        measured_at=at,
        version=version,
        calibration=_json(now.plain()),
        published_at=at,
        models=() if old is None else old.models,
        slots=slots,
        imported="" if old is None else old.imported,
    )


def calibration_of(record: EngineRecord) -> Calibration:
    """The one that was published last."""
    return Calibration.of_plain(json.loads(record.calibration))


def _json(plain: Mapping[str, object]) -> bytes:
    return json.dumps(plain, allow_nan=False, separators=(",", ":")).encode()
