"""How jobs that are durable get into the machine, each once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from services.common.clock import Clock
from services.scheduler.core.events import JobAdmitted
from services.scheduler.driver import Driver
from services.scheduler.ledger import Ledger
from services.state.port import SchedulerStore


class Admission:
    """Loads jobs and admits them.

    A job must never be admitted from a look at the store that is older than its end, or it would run twice. So one
    admission at a time, and each first lets all that came before become durable.
    """

    def __init__(self, *, store: SchedulerStore, driver: Driver, ledger: Ledger, clock: Clock) -> None:
        self._store = store
        self._driver = driver
        self._ledger = ledger
        self._clock = clock
        self._turn = asyncio.Lock()

    async def admit(self, job_ids: Sequence[str]) -> list[str]:
        """Takes up the jobs; those that are active or have ended are left alone. Returns the ids of unknown ones.

        Returns when all is durable. Raises StateUnavailable, or what ended the term.
        """
        wanted = dict.fromkeys(job_ids)
        async with self._turn:
            missing = await self._driver.read(lambda: [each for each in wanted if not self._ledger.record(each)])
            jobs = await self._store.load_jobs(missing) if missing else []
            now = self._clock.now()
            admissions = [
                self._driver.submit(
                    JobAdmitted(at=now, cause=f"admit:{job.record.job_id}", job=job.snapshot()), job=job
                )
                for job in jobs
                if not job.status.state.is_final
            ]
            await asyncio.gather(*admissions)
        known = {job.record.job_id for job in jobs}
        return [job_id for job_id in missing if job_id not in known]
