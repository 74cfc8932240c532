"""A real Prometheus that goes by deploy/prometheus, and the questions that deploy/grafana asks it."""

from __future__ import annotations

import asyncio
import json
import math
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import yaml

from services.up.stack import free_port
from tests.support.live import until

ROOT = Path(__file__).parents[2]
_FOLDER = ROOT / "deploy" / "prometheus"
#: In place of five: a test has less time than an operator.
SCRAPE_SECONDS = 1


def program() -> str | None:
    return shutil.which("prometheus")


@dataclass(frozen=True, kw_only=True)
class Question:
    """One query of one panel."""

    dashboard: str
    panel: str
    ref: str
    query: str

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.panel} {self.ref}"

    @property
    def substituted(self) -> str:
        """As Grafana sends it: rates go over four scrapes, if its data source names their interval."""
        text = self.query.replace("$__rate_interval", f"{4 * SCRAPE_SECONDS}s")
        assert "$" not in text, "a variable that Grafana would replace, and this test would not"
        return text


def questions() -> list[Question]:
    """All that the dashboards ask."""
    return [
        Question(dashboard=path.stem, panel=panel["title"], ref=target["refId"], query=target["expr"])
        for path in sorted((ROOT / "deploy" / "grafana").glob("*.json"))
        for panel in json.loads(path.read_text())["panels"]
        for target in panel["targets"]
    ]


def configuration(hosts: Mapping[str, str]) -> dict[str, Any]:
    """deploy/prometheus/prometheus.yaml with addresses instead of names, and with a test's patience."""
    config: dict[str, Any] = yaml.safe_load((_FOLDER / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"}
    config["rule_files"] = [str(_FOLDER / name) for name in config["rule_files"]]
    for job in config["scrape_configs"]:
        found = [target for group in job.get("static_configs", []) for target in group["targets"]]
        static = [{"targets": [re.sub(r"^[^:]+", lambda name: hosts[name[0]], target)]} for target in found]
        for asked in job.pop("dns_sd_configs", []):  # names that nobody has are no targets
            static += [
                {"targets": [f"{hosts[name]}:{asked['port']}"], "labels": {"__meta_dns_name": name}}
                for name in asked["names"]
                if name in hosts
            ]
        job["static_configs"] = static
    return config


@dataclass
class Prometheus:
    """Runs inside the `async with` block. `hosts` are addresses by the names in deploy/compose."""

    hosts: Mapping[str, str]
    folder: Path
    began: float = field(default_factory=time.time)
    _process: asyncio.subprocess.Process = field(init=False)
    _session: aiohttp.ClientSession = field(init=False)
    _url: str = ""

    async def __aenter__(self) -> Self:
        found, port = program(), free_port()
        assert found is not None
        self.folder.mkdir()
        config = self.folder / "prometheus.yaml"
        config.write_text(yaml.safe_dump(configuration(self.hosts)))
        self._url = f"http://127.0.0.1:{port}"
        with (self.folder / "log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                found,
                f"--config.file={config}",
                f"--storage.tsdb.path={self.folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                stdout=log,
                stderr=log,
            )
        self._session = aiohttp.ClientSession()
        await until(self._ready, limit=30, what="Prometheus")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.wait()

    async def get(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of the HTTP API."""
        async with self._session.get(f"{self._url}/api/v1/{path}", params=parameters) as answer:
            body = await answer.json()
        assert body["status"] == "success", body
        return body["data"]

    async def values(self, query: str) -> dict[str, list[float]]:
        """The finite values of a query from the beginning until now, of each series that has any."""
        data = await self.get(
            "query_range", query=query, start=f"{self.began:.3f}", end=f"{time.time():.3f}", step=str(SCRAPE_SECONDS)
        )
        found = {}
        for series in data["result"]:
            numbers = [number for _, text in series["values"] if math.isfinite(number := float(text))]
            if numbers:
                found[json.dumps(series["metric"], sort_keys=True)] = numbers
        return found

    async def now(self, query: str) -> list[float]:
        """The values of a query now."""
        data = await self.get("query", query=query)
        return [float(series["value"][1]) for series in data["result"]]

    async def scrapes(self, count: int) -> None:
        """Waits until everybody was asked so often again."""
        begin = time.time()

        async def asked() -> bool:
            data = await self.get("query", query="min(timestamp(up))")
            (series,) = data["result"]
            return float(series["value"][1]) >= begin + count * SCRAPE_SECONDS

        await until(asked, limit=30 + count * SCRAPE_SECONDS, what="further scrapes")

    async def _ready(self) -> bool:
        assert self._process.returncode is None, (self.folder / "log").read_text()[-2000:]
        try:
            async with self._session.get(f"{self._url}/-/ready") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False
