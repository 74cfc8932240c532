"""deploy/helm: what the chart makes is valid, as secure as it says, and what the services' own settings take."""

from __future__ import annotations

import os
import re
import tomllib
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic_settings import BaseSettings

from lab import compose
from llmsched.api.planner.v1 import planner_pb2
from llmsched.api.profiler.v1 import profiler_pb2
from llmsched.options import Options
from services.executors.settings import ExecutorSettings
from services.planner.settings import PlannerSettings
from services.profiler.settings import ProfilerSettings
from services.scheduler.settings import SchedulerSettings
from services.state.endpoints import Endpoint
from services.state.settings import RedisSettings
from tests.support.helm import CHART, ROOT, Workload, render, schemas

#: Files of deploy/helm/values; none: the defaults.
FILES: tuple[tuple[str, ...], ...] = ((), ("gpu",), ("sentinel",), ("everything",))
every_case = pytest.mark.parametrize("values", FILES, ids=lambda names: "".join(names) or "default")
SERVICES: dict[str, tuple[type[BaseSettings], str]] = {
    "planner": (PlannerSettings, "LLMSCHED_PLANNER_"),
    "profiler": (ProfilerSettings, "LLMSCHED_PROFILER_"),
    "scheduler": (SchedulerSettings, "LLMSCHED_SCHEDULER_"),
    "llm-executor": (ExecutorSettings, "LLMSCHED_EXECUTOR_"),
    "tool-executor": (ExecutorSettings, "LLMSCHED_EXECUTOR_"),
}
PORTS = {"planner": 7411, "scheduler": 7412, "profiler": 7413}
#: Not in Kubernetes itself: the Prometheus operator's. Only what the chart uses of them.
RULE = {
    "type": "object",
    "required": ["expr"],
    "oneOf": [{"required": ["alert"]}, {"required": ["record"]}],
    "additionalProperties": False,
    "properties": {
        **{key: {"type": "string", "minLength": 1} for key in ("alert", "record", "expr", "for")},
        **{key: {"type": "object", "additionalProperties": {"type": "string"}} for key in ("labels", "annotations")},
    },
}
GROUP = {
    "type": "object",
    "required": ["name", "rules"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string"},
        "interval": {"type": "string"},
        "rules": {"type": "array", "minItems": 1, "items": RULE},
    },
}
ENDPOINT = {
    "type": "object",
    "required": ["port"],
    "additionalProperties": False,
    "properties": {
        "port": {"type": "string"},
        "interval": {"type": "string"},
        "relabelings": {"type": "array", "items": {"type": "object", "required": ["targetLabel"]}},
    },
}
OPERATOR: dict[str, dict[str, Any]] = {
    "PrometheusRule": {"groups": {"type": "array", "items": GROUP}},
    "PodMonitor": {
        "jobLabel": {"type": "string"},
        "selector": {"type": "object"},
        "podMetricsEndpoints": {"type": "array", "minItems": 1, "items": ENDPOINT},
    },
}


def in_our_image(workload: Workload) -> list[tuple[str, dict[str, Any]]]:
    """Containers of llmsched's own image, with what they run."""
    return [(each["args"][0], each) for each in workload.containers if "llmsched" in each["image"]]


@every_case
@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_every_object_is_what_kubernetes_says(values: tuple[str, ...], version: str) -> None:
    validators = schemas(version)
    for each in render(*values).objects:
        if each["apiVersion"].startswith("monitoring.coreos.com/"):
            spec = {"type": "object", "additionalProperties": False, "properties": OPERATOR[each["kind"]]}
            jsonschema.Draft202012Validator(spec).validate(each["spec"])
        else:
            validators.check(each)


def test_the_schemas_refuse_what_is_wrong() -> None:
    deployment = render().workload("planner").object
    wrong = yaml.safe_load(yaml.safe_dump(deployment).replace("periodSeconds", "periodSecond"))
    with pytest.raises(jsonschema.ValidationError, match="periodSecond"):
        schemas("1.30").check(wrong)


@every_case
def test_services_understand_every_variable_they_are_given(
    values: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = render(*values)
    seen = set()
    for workload in rendered.workloads():
        container = workload.service_container()
        if container is None:
            continue
        seen.add(service := container["args"][1])
        kind, prefix = SERVICES[service]
        environment = rendered.environment(container, workload.pods[0])
        known = {str(field.validation_alias or f"{prefix}{name}".upper()) for name, field in kind.model_fields.items()}
        if service == "planner":
            known |= {"LLMSCHED_ADDRESS", "LLMSCHED_SCHEDULER", "LLMSCHED_PROFILER"}
            Options.load(environ=environment)
        assert {name for name in environment if name.startswith("LLMSCHED_")} <= known
        with monkeypatch.context() as patch:
            for name in [*os.environ]:
                if name.startswith("LLMSCHED_"):
                    patch.delenv(name)
            for name, value in environment.items():
                patch.setenv(name, value)
            settings = kind()
        if store := getattr(settings, "redis_url", ""):
            Endpoint(RedisSettings(url=store, shard=getattr(settings, "shard", "main")))
    assert seen >= {"planner", "profiler", "scheduler", "llm-executor", "tool-executor"}


def test_settings_of_values_reach_the_services() -> None:
    rendered = render("everything")
    planner, scheduler = rendered.workload("planner"), rendered.workload("scheduler")
    told = rendered.environment(planner.containers[0], "p")
    assert told["LLMSCHED_PLANNER_MAX_ACTIVE_JOBS"] == "1000000"  # not 1e+06
    assert told["LLMSCHED_REDIS_URL"].startswith("rediss://llmsched:secret@")
    assert told["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector.observability.svc:4317"
    told = rendered.environment(scheduler.containers[0], "s")
    assert told["LLMSCHED_SCHEDULER_POLICY"] == "gittins"
    assert told["LLMSCHED_SCHEDULER_PAYLOAD_CACHE_BYTES"] == "268435456"
    hosted = rendered.environment(rendered.workload("llm-hosted").containers[0], "h")
    assert hosted["LLMSCHED_EXECUTOR_ENGINE"] == "openai"
    assert hosted["LLMSCHED_EXECUTOR_API_KEY_ENV"] in hosted


@pytest.mark.parametrize(
    ("component", "kind"),
    [
        ("planner", PlannerSettings),
        ("profiler", ProfilerSettings),
        ("scheduler", SchedulerSettings),
        ("llm", ExecutorSettings),
        ("tools", ExecutorSettings),
    ],
)
def test_values_offer_the_settings_that_there_are(component: str, kind: type[BaseSettings]) -> None:
    """Those that the chart does not make itself, and that need no file, which it does not bring."""
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())["properties"]
    offered = set(schema[component]["properties"]["settings"]["properties"])
    prefix = str(kind.model_config["env_prefix"])
    own = {name for name, field in kind.model_fields.items() if field.validation_alias is None}
    rendered = render("everything")
    workloads = [each for each in rendered.workloads() if each.component.partition("-")[0] == component]
    made = {each["name"] for workload in workloads for each in workload.pod["containers"][0]["env"]}
    files = {"event_log", "history", "launch", "launch_log"}
    for_the_other_kind = {"llm": {"tools"}, "tools": {"engine", "engine_url", "api_key_env", "model", "start_timeout"}}
    left = own - files - for_the_other_kind.get(component, set())
    assert offered <= left, "a setting that does not exist"
    assert {f"{prefix}{name}".upper() for name in left - offered} <= made, "neither offered nor made"


@every_case
def test_ports_and_probes_are_those_of_the_services(values: tuple[str, ...]) -> None:
    rendered = render(*values)
    services = {
        "planner": planner_pb2.DESCRIPTOR.services_by_name["PlannerService"].full_name,
        "profiler": profiler_pb2.DESCRIPTOR.services_by_name["ProfilerService"].full_name,
        "scheduler": None,  # a standby is ready too
    }
    for component, port in PORTS.items():
        workload = rendered.workload(component)
        (container,) = workload.containers
        environment = rendered.environment(container, workload.pods[0])
        assert environment[f"LLMSCHED_{component.upper()}_LISTEN"] == f"0.0.0.0:{port}"
        assert {"name": "grpc", "containerPort": port} in container["ports"]
        assert container["startupProbe"]["grpc"] == container["livenessProbe"]["grpc"] == {"port": port}
        assert container["readinessProbe"]["grpc"]["port"] == port
        assert container["readinessProbe"]["grpc"].get("service") == services[component]
    for workload in rendered.workloads():
        if container := workload.service_container():
            environment = rendered.environment(container, workload.pods[0])
            metrics = next(each["containerPort"] for each in container["ports"] if each["name"] == "metrics")
            assert environment["OTEL_METRICS_EXPORTER"] == "prometheus"
            assert environment["OTEL_EXPORTER_PROMETHEUS_PORT"] == str(metrics)
            assert environment["OTEL_EXPORTER_PROMETHEUS_HOST"] == "0.0.0.0"


@every_case
def test_addresses_lead_to_who_is_meant(values: tuple[str, ...]) -> None:
    rendered = render(*values)
    scheduler, planner = rendered.workload("scheduler"), rendered.workload("planner")

    def leads(address: str) -> tuple[str, int]:
        workload, port = rendered.backend(address)
        return workload.component, port

    told = rendered.environment(scheduler.containers[0], scheduler.pods[0])
    assert leads(told["LLMSCHED_SCHEDULER_PLANNERS"]) == ("planner", 7411)
    assert leads(told["LLMSCHED_SCHEDULER_PROFILERS"]) == ("profiler", 7413)
    advertised = [
        rendered.environment(scheduler.containers[0], pod)["LLMSCHED_SCHEDULER_ADVERTISE"] for pod in scheduler.pods
    ]
    assert len(set(advertised)) >= 2
    assert {leads(address) for address in advertised} == {("scheduler", 7412)}
    profiler = rendered.workload("profiler").containers[0]
    assert rendered.environment(profiler, "p")["LLMSCHED_PROFILER_ADVERTISE"] == "10.0.0.7:7413", (
        "its pod's own address"
    )
    told = rendered.environment(planner.containers[0], "p")
    assert told["LLMSCHED_SCHEDULER"].split(",") == advertised
    assert leads(told["LLMSCHED_ADDRESS"]) == ("planner", 7411)
    assert leads(told["LLMSCHED_PROFILER"]) == ("profiler", 7413)
    for workload in rendered.workloads():
        container = workload.service_container()
        if container and container["args"][1].endswith("-executor"):
            told = rendered.environment(container, workload.pods[0])
            assert told["LLMSCHED_SCHEDULERS"].split(",") == advertised
            assert told["LLMSCHED_EXECUTOR_ID"] == workload.pods[0]
            assert workload.object["kind"] == "StatefulSet", "a restarted executor must be the same"
    (service,) = (each for each in rendered.of("Service") if each["metadata"]["name"].endswith("-scheduler"))
    assert service["spec"]["publishNotReadyAddresses"], "a leader is looked for before a probe knows of it"


def test_commands_are_those_of_compose() -> None:
    environ = {"MODEL": "Qwen/Qwen2.5-7B-Instruct"}
    services = compose.load("compose.yaml", "compose.gpu.yaml", environ=environ)["services"]
    default, gpu = render(), render("gpu")
    pairs = [
        (default.workload("planner").containers[0], "planner"),
        (default.workload("profiler").containers[0], "profiler"),
        (default.workload("scheduler").containers[0], "scheduler-0"),
        (default.workload("llm-default").container("executor"), "llm-0"),
        (default.workload("llm-default").container("engine"), "engine"),
        (default.workload("tools").containers[0], "tool-0"),
        (default.workload("valkey").containers[0], "redis"),
        (gpu.workload("llm-default").container("engine"), "sglang"),
    ]
    for container, name in pairs:
        assert [*container.get("command", ()), *container["args"]] == services[name]["command"], name
        if "llmsched" not in container["image"]:
            assert container["image"] == services[name]["image"]
    probe = default.workload("tools").containers[0]["readinessProbe"]["exec"]["command"]
    assert ["CMD", *probe] == services["tool-0"]["healthcheck"]["test"]


@every_case
def test_pods_may_do_no_more_than_they_must(values: tuple[str, ...]) -> None:
    rendered = render(*values)
    (account,) = rendered.of("ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    for workload in rendered.workloads():
        pod = workload.pod
        assert pod["serviceAccountName"] == account["metadata"]["name"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False, "Services would set variables that begin with LLMSCHED_"
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        volumes = {each["name"]: each for each in pod["volumes"]}
        claims = {each["metadata"]["name"] for each in workload.object["spec"].get("volumeClaimTemplates", ())}
        assert not any("hostPath" in each for each in volumes.values())
        for container in workload.containers:
            security = dict(container["securityContext"])
            if workload.component == "tools" and "everything" in values:
                # Asked for: programs in a sandbox get namespaces of their own, inside one that the host does not see.
                assert pod["hostUsers"] is False
                assert security.pop("procMount") == "Unmasked"
                assert security.pop("seccompProfile") == {"type": "Unconfined"}
            assert security == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"]["cpu"]
            assert {each["name"] for each in container["volumeMounts"]} <= volumes.keys() | claims
            assert "/tmp" in {each["mountPath"] for each in container["volumeMounts"]}


@every_case
def test_executors_are_given_more_time_than_they_take_to_drain(values: tuple[str, ...]) -> None:
    rendered = render(*values)
    found = 0
    for workload in rendered.workloads():
        container = workload.service_container()
        if container and container["args"][1].endswith("-executor"):
            drain = float(rendered.environment(container, "x")["LLMSCHED_EXECUTOR_DRAIN_SECONDS"])
            assert workload.pod["terminationGracePeriodSeconds"] >= drain + 10
            assert "livenessProbe" not in container, "all would be restarted when no scheduler leads"
            found += 1
    assert found >= 2


def test_an_engine_starts_before_its_executor_and_ends_after_it() -> None:
    for values in ((), ("gpu",)):
        pod = render(*values).workload("llm-default").pod
        (engine,) = pod["initContainers"]
        assert engine["restartPolicy"] == "Always"  # a sidecar
        assert engine["startupProbe"]["httpGet"] == {"path": "/health", "port": "engine"}
    assert not render("everything").workload("llm-hosted").pod.get("initContainers")


def test_gpus_are_asked_for_and_shared_between_shards() -> None:
    rendered = render("everything")
    large = rendered.workload("llm-large").container("engine")
    assert large["resources"]["limits"]["nvidia.com/gpu"] == "4"
    assert large["args"][large["args"].index("--tp") + 1] == "4"
    assert large["args"][-2:] == ["--context-length", "32768"]
    small = rendered.workload("llm-small").container("engine")
    assert small["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "--tp" not in small["args"]
    assert "nvidia.com/gpu" not in str(render().objects), "the defaults must install without a GPU"


@every_case
def test_disruption_budgets_cover_each_workload_once(values: tuple[str, ...]) -> None:
    rendered = render(*values)
    budgets = [each["spec"] for each in rendered.of("PodDisruptionBudget")]
    assert all(each["maxUnavailable"] == 1 for each in budgets)
    for workload in rendered.workloads():
        matching = [each for each in budgets if each["selector"]["matchLabels"].items() <= workload.labels.items()]
        assert len(matching) == (workload.component not in ("valkey", "test")), workload.name


@every_case
def test_selectors_and_names_are_consistent(values: tuple[str, ...]) -> None:
    rendered = render(*values)
    for workload in rendered.workloads():
        if workload.object["kind"] != "Pod":
            assert workload.object["spec"]["selector"]["matchLabels"].items() <= workload.labels.items()
        assert len({name for name in rendered.components() if name == workload.component}) == 1
    names = [(each["kind"], each["metadata"]["name"]) for each in rendered.objects]
    assert len(set(names)) == len(names)


def test_a_new_chart_alone_restarts_nothing() -> None:
    for workload in render("everything").workloads():
        if workload.object["kind"] != "Pod":
            assert not {"helm.sh/chart", "app.kubernetes.io/version"} & workload.labels.keys()
            assert workload.object["metadata"]["labels"]["helm.sh/chart"]


def test_long_names_still_fit() -> None:
    rendered = render(release="r" * 53, sets=("llm.pools.fifteen-letters.replicas=1",))
    for workload in rendered.workloads():
        assert len(workload.name) <= 52, "a StatefulSet's pods have it as a label, with a hash behind it"
    assert rendered.workload("llm-fifteen-letters")


def test_the_chart_is_of_the_version_that_it_installs() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["appVersion"] == project["version"]
    assert render().workload("planner").containers[0]["image"] == f"llmsched:{project['version']}"


def test_every_value_that_the_page_names_exists() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    page = (ROOT / "deploy" / "helm" / "README.md").read_text()
    named = set(re.findall(rf"\b((?:{'|'.join(values)})(?:\.[a-zA-Z]+)+)\b", page))
    assert len(named) > 10
    for path in named:
        here: Any = values
        for part in path.split("."):
            assert isinstance(here, dict), path
            if here == {}:  # settings, pools: the schema knows
                break
            assert part in here, f"{path} in README.md"
            here = here[part]
