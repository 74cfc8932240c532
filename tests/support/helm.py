"""The chart of deploy/helm, rendered by the real helm, as objects that tests can ask."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import referencing
import yaml
from referencing.jsonschema import DRAFT202012

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "helm"
CHART = FOLDER / "llmsched"
NAMESPACE = "serving"
RELEASE = "rel"
INSTALLED = ROOT / ".cache" / "helm"

Object = dict[str, Any]


def helm() -> str:
    """The program, or skips."""
    installed = INSTALLED / "helm"
    found = str(installed) if installed.exists() else shutil.which("helm")
    if found is None:
        pytest.skip("no helm: scripts/install_helm.py (`make helm`) fetches it on Linux and x86_64")
    return found


def run_helm(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([helm(), *map(str, words)], capture_output=True, text=True, check=False)


def template(*values: str, release: str = RELEASE, sets: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """What helm says to files of deploy/helm/values, by their names, and to `--set` words."""
    words: list[str | Path] = ["template", release, CHART, "--namespace", NAMESPACE]
    for name in values:
        words += ["--values", FOLDER / "values" / f"{name}.yaml"]
    for each in sets:
        words += ["--set", each]
    return run_helm(*words)


@functools.cache
def render(*values: str, release: str = RELEASE, sets: tuple[str, ...] = ()) -> Rendered:
    answer = template(*values, release=release, sets=sets)
    assert answer.returncode == 0, answer.stderr
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # several times faster, where libyaml is there
    return Rendered([each for each in yaml.load_all(answer.stdout, loader) if each])


def refusal(*values: str, sets: Sequence[str] = ()) -> str:
    """Why helm does not render it."""
    answer = template(*values, sets=sets)
    assert answer.returncode != 0, "it was rendered"
    return answer.stderr


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment, a StatefulSet or the pod of a test."""

    object: Object

    @property
    def name(self) -> str:
        return str(self.object["metadata"]["name"])

    @property
    def component(self) -> str:
        return str(self.labels["app.kubernetes.io/component"])

    @property
    def labels(self) -> dict[str, str]:
        return dict(self._template["metadata"]["labels"])

    @property
    def pod(self) -> Object:
        return dict(self._template["spec"])

    @property
    def _template(self) -> Object:
        return self.object if self.object["kind"] == "Pod" else dict(self.object["spec"]["template"])

    @property
    def pods(self) -> list[str]:
        """Names of its pods; those of a Deployment are made up."""
        count = self.object.get("spec", {}).get("replicas", 1)
        return [f"{self.name}-{number}" for number in range(count)]

    @property
    def containers(self) -> list[Object]:
        return [*self.pod.get("initContainers", ()), *self.pod["containers"]]

    def container(self, name: str) -> Object:
        (found,) = (each for each in self.containers if each["name"] == name)
        return dict(found)

    def service_container(self) -> Object | None:
        """The one that runs `llmsched serve …`."""
        return next((each for each in self.containers if each.get("args", [""])[0] == "serve"), None)


class Rendered:
    """All objects of a release."""

    def __init__(self, objects: list[Object]) -> None:
        self.objects = objects

    def of(self, kind: str) -> list[Object]:
        return [each for each in self.objects if each["kind"] == kind]

    def workloads(self) -> Iterator[Workload]:
        for each in self.objects:
            if each["kind"] in ("Deployment", "StatefulSet", "Pod"):
                yield Workload(each)

    def workload(self, component: str) -> Workload:
        (found,) = (each for each in self.workloads() if each.component == component)
        return found

    def components(self) -> list[str]:
        return [each.component for each in self.workloads()]

    def environment(self, container: Mapping[str, Any], pod: str) -> dict[str, str]:
        """The variables as the kubelet would give them."""
        known: dict[str, str] = {}
        for variable in container.get("env", ()):
            value = variable.get("value")
            if value is None:
                value = self._looked_up(variable["valueFrom"], pod)
            known[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda found: known[found[1]], value)
        return known

    def _looked_up(self, source: Mapping[str, Any], pod: str) -> str:
        if field := source.get("fieldRef"):
            return {"metadata.name": pod, "status.podIP": "10.0.0.7"}[field["fieldPath"]]
        wanted = source["secretKeyRef"]
        for secret in self.of("Secret"):
            if secret["metadata"]["name"] == wanted["name"]:
                return str(secret["stringData"][wanted["key"]])
        return "redis+sentinel://s-0.redis:26379/mymaster" if wanted["key"] == "url" else "of a secret that is not ours"

    def backend(self, address: str) -> tuple[Workload, int]:
        """Who answers at `name.namespace.svc:port`, or at a pod's own name in front of it, and at which port of its."""
        host, _, port = address.rpartition(":")
        *pod, name, namespace, suffix = host.split(".")
        assert (namespace, suffix) == (NAMESPACE, "svc"), address
        (service,) = (each for each in self.of("Service") if each["metadata"]["name"] == name)
        (workload,) = (each for each in self.workloads() if selects(service["spec"]["selector"], each.labels))
        (target,) = (each["targetPort"] for each in service["spec"]["ports"] if each["port"] == int(port))
        if pod:
            assert pod[0] in workload.pods, address
            assert workload.object["spec"]["serviceName"] == name, "only a governing Service names pods"
            assert service["spec"]["clusterIP"] == "None"
        (number,) = (
            each["containerPort"]
            for container in workload.containers
            for each in container.get("ports", ())
            if each["name"] == target
        )
        return workload, number


def selects(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return wanted.items() <= labels.items()


@functools.cache
def schemas(version: str) -> Validators:
    """Of all objects of a version of Kubernetes, or skips."""
    if not (INSTALLED / "schemas.zip").exists():
        pytest.skip("no schemas of Kubernetes: scripts/install_helm.py (`make helm`) fetches them")
    return Validators(version)


class Validators:
    """Schemas that refuse fields that are not known."""

    def __init__(self, version: str) -> None:
        self._archive = zipfile.ZipFile(INSTALLED / "schemas.zip")
        self._folder = f"kubernetes_validate/kubernetes-json-schema/v{version}.0-local-strict"
        definitions = DRAFT202012.create_resource(self._read("_definitions"))
        self._registry: Any = referencing.Registry().with_resource("/api/_definitions.json", definitions).crawl()

    def _read(self, name: str) -> Any:
        return json.loads(self._archive.read(f"{self._folder}/{name}.json"))

    def check(self, each: Object) -> None:
        """Raises ValidationError."""
        group, _, version = each["apiVersion"].rpartition("/")
        parts = [each["kind"].lower(), *filter(None, [group.partition(".")[0]]), version]
        schema = self._read("-".join(parts))
        jsonschema.Draft202012Validator(schema, registry=self._registry).validate(each)
