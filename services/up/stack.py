"""Which processes a cluster on one machine has, and what each of them is told."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.common.processes import ProcessSpec

#: Engines that `up` can start by itself; anything else is the URL of one that runs already.
KNOWN_ENGINES = ("sim", "sglang", "llamacpp")
_REPOSITORY = Path(__file__).resolve().parents[2]


class StackError(Exception):
    """The cluster cannot be started as asked; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """What `llmsched up` was asked for."""

    directory: Path  #: data, logs and sockets
    planner: str = "127.0.0.1:7411"  #: address; port 0 takes a free one
    scheduler: str = "127.0.0.1:7412"
    profiler: str = "127.0.0.1:7413"
    standbys: int = 0  #: further schedulers, on free ports
    redis_url: str | None = None  #: None: an embedded Valkey
    appendfsync: str = "everysec"  #: of the embedded Valkey
    engines: tuple[str, ...] = ("sim",)  #: KNOWN_ENGINES or http://…, openai+http://…
    engine_arguments: tuple[str, ...] = ()  #: further arguments of engines that are started
    slots: int | None = None  #: per LLM executor
    tool_executors: int = 1
    tool_slots: int | None = None  #: per tool executor
    scheduler_settings: Mapping[str, str] = field(default_factory=dict)  #: LLMSCHED_SCHEDULER_* without prefix
    profiler_settings: Mapping[str, str] = field(default_factory=dict)  #: LLMSCHED_PROFILER_* without prefix
    otlp_endpoint: str | None = None
    prometheus: bool = False  #: every service serves metrics on a port of its own
    log_level: str = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The processes of a cluster, in the order in which they are started."""

    planner: str
    schedulers: tuple[str, ...]
    profiler: str
    redis_url: str
    executors: tuple[str, ...]  #: ids
    processes: tuple[ProcessSpec, ...]
    metrics: Mapping[str, str]  #: service → address of its metrics


def build(options: StackOptions) -> Stack:
    """Decides ports and commands. Raises StackError."""
    return _Builder(options).build()


class _Builder:
    def __init__(self, options: StackOptions) -> None:
        self._options = options
        self._processes: list[ProcessSpec] = []
        self._executors: list[str] = []
        self._metrics: dict[str, str] = {}
        # Tools run in forked processes that never call gRPC; its fork handlers would only fill the logs.
        self._common = {"LLMSCHED_LOG_LEVEL": options.log_level, "GRPC_ENABLE_FORK_SUPPORT": "0"}
        if options.otlp_endpoint:
            self._common |= {
                "OTEL_EXPORTER_OTLP_ENDPOINT": options.otlp_endpoint,
                "OTEL_TRACES_EXPORTER": "otlp",
            }

    def build(self) -> Stack:
        options = self._options
        self._common["LLMSCHED_REDIS_URL"] = redis_url = self._redis()
        planner = with_free_port(options.planner)
        profiler = with_free_port(options.profiler)
        schedulers = tuple(
            [with_free_port(options.scheduler)] + [with_free_port("127.0.0.1:0") for _ in range(options.standbys)]
        )
        self._common["LLMSCHED_SCHEDULERS"] = ",".join(schedulers)
        self._service("planner", ["services.planner"], {"LLMSCHED_PLANNER_LISTEN": planner})
        self._service("profiler", ["services.profiler"], self._profiler(profiler))
        for number, address in enumerate(schedulers):
            self._scheduler("scheduler" if not number else f"standby-{number}", address, planner, profiler)
        for number, engine in enumerate(options.engines):
            self._llm(f"llm-{number}", engine)
        for number in range(options.tool_executors):
            self._tool(f"tool-{number}")
        return Stack(
            planner=planner,
            schedulers=schedulers,
            profiler=profiler,
            redis_url=redis_url,
            executors=tuple(self._executors),
            processes=tuple(self._processes),
            metrics=self._metrics,
        )

    def _redis(self) -> str:
        options = self._options
        if options.redis_url:
            return options.redis_url
        port = free_port()
        command = ["services.state.embedded", "--data-dir", str(options.directory / "redis"), "--port", str(port)]
        self._add("redis", _module(*command, "--fsync", options.appendfsync), {})
        return f"redis://127.0.0.1:{port}/0"

    def _profiler(self, address: str) -> dict[str, str]:
        options = self._options
        settings = {f"LLMSCHED_PROFILER_{key.upper()}": value for key, value in options.profiler_settings.items()}
        # What a token costs is said once, to the schedulers.
        for name in ("prefill_seconds", "decode_seconds"):
            if name in options.scheduler_settings:
                settings[f"LLMSCHED_PROFILER_{name.upper()}"] = options.scheduler_settings[name]
        return settings | {"LLMSCHED_PROFILER_LISTEN": address}

    def _scheduler(self, name: str, address: str, planner: str, profiler: str) -> None:
        options = self._options
        settings = {f"LLMSCHED_SCHEDULER_{key.upper()}": value for key, value in options.scheduler_settings.items()}
        settings |= {
            "LLMSCHED_SCHEDULER_LISTEN": address,
            "LLMSCHED_SCHEDULER_PLANNERS": planner,
            "LLMSCHED_SCHEDULER_PROFILERS": profiler,
        }
        self._service(name, ["services.scheduler"], settings)

    def _llm(self, name: str, engine: str) -> None:
        settings = {"LLMSCHED_EXECUTOR_ID": name}
        if self._options.slots:
            settings["LLMSCHED_EXECUTOR_SLOTS"] = str(self._options.slots)
        match engine:
            case "sim":
                port = free_port()
                url = f"http://127.0.0.1:{port}"
                arguments = ["--port", str(port), *self._options.engine_arguments]
                command = [sys.executable, "-m", "llmsched.cli", "engine-sim", *arguments]
                self._add(f"engine-{name}", command, {})
                settings["LLMSCHED_EXECUTOR_ENGINE_URL"] = url
            case "sglang" | "llamacpp":
                settings |= self._launched(engine, name)
            case _ if engine.startswith(("http://", "https://")):
                settings["LLMSCHED_EXECUTOR_ENGINE_URL"] = engine
            case _ if engine.startswith("openai+http"):
                settings["LLMSCHED_EXECUTOR_ENGINE"] = "openai"
                settings["LLMSCHED_EXECUTOR_ENGINE_URL"] = engine.removeprefix("openai+")
            case _:
                known = ", ".join(KNOWN_ENGINES)
                raise StackError(
                    f"unknown engine {engine!r}: name one of {known}, or give a URL (openai+URL for OpenAI's API)"
                )
        self._executors.append(name)
        self._service(name, ["services.executors", "llm"], settings)

    def _launched(self, engine: str, name: str) -> dict[str, str]:
        """Settings of an executor that has its engine as a child."""
        folder = {"sglang": "sglang-cpu", "llamacpp": "llamacpp"}[engine]
        variable = f"LLMSCHED_{engine.upper()}_LAUNCH"
        launch = os.environ.get(variable) or str(_REPOSITORY / "deploy" / folder / "launch.sh")
        if not Path(launch).exists():
            raise StackError(f"{launch} is not there: name the script that starts {engine} in {variable}")
        port = free_port()
        settings = {
            "LLMSCHED_EXECUTOR_LAUNCH": " ".join([launch, *self._options.engine_arguments]),
            "LLMSCHED_EXECUTOR_LAUNCH_LOG": str(self._options.directory / "logs" / f"engine-{name}.log"),
            "LLMSCHED_EXECUTOR_ENGINE": "openai" if engine == "llamacpp" else "sglang",
            "LLMSCHED_EXECUTOR_ENGINE_URL": f"http://127.0.0.1:{port}",
            "PORT": str(port),
        }
        if self._options.slots:
            settings["MAX_RUNNING"] = str(self._options.slots)
        if engine == "sglang" and self._options.otlp_endpoint:
            settings["TRACE_ENDPOINT"] = self._options.otlp_endpoint.partition("://")[2] or self._options.otlp_endpoint
            # Or Phoenix files the whole trace under "default", where SGLang's own spans go.
            settings["OTEL_RESOURCE_ATTRIBUTES"] = "openinference.project.name=llmsched"
        return settings

    def _tool(self, name: str) -> None:
        settings = {"LLMSCHED_EXECUTOR_ID": name}
        if self._options.tool_slots:
            settings["LLMSCHED_EXECUTOR_SLOTS"] = str(self._options.tool_slots)
        self._executors.append(name)
        self._service(name, ["services.executors", "tool"], settings)

    def _service(self, name: str, module: list[str], settings: dict[str, str]) -> None:
        if self._options.prometheus:
            port = free_port()
            self._metrics[name] = f"127.0.0.1:{port}"
            settings |= {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": str(port)}
        self._add(name, _module(*module), settings)

    def _add(self, name: str, command: list[str], settings: Mapping[str, str]) -> None:
        self._processes.append(ProcessSpec(name=name, command=command, environment={**self._common, **settings}))


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    return next(_free_ports())


def with_free_port(address: str) -> str:
    """The address, with port 0 replaced by a free one. Raises StackError if its port is taken."""
    host, _, port = address.rpartition(":")
    if port == "0":
        return f"{host}:{free_port()}"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host or "127.0.0.1", int(port)))
        except OSError as error:
            raise StackError(f"{address} is taken ({error.strerror}): is another `llmsched up` running?") from error
    return address


def _free_ports() -> Iterator[int]:
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port not in _given:
            _given.add(port)
            yield port


#: The kernel may name a port again before its process has bound it.
_given: set[int] = set()


def _module(*words: str) -> list[str]:
    return [sys.executable, "-m", *words]
