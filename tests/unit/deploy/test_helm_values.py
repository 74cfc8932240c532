"""deploy/helm: wrong values are refused with a reason, what is left out is left out, helm itself has no complaint."""

from __future__ import annotations

import pytest

from tests.support.helm import CHART, FOLDER, refusal, render, run_helm, template

#: `--set` words, and what the refusal must say.
WRONG = [
    (("planner.replica=3",), "'/planner': additional properties 'replica' not allowed"),
    (("planner.replicas=0",), "'/planner/replicas': minimum: got 0, want 1"),
    (("planner.replicas=two",), "'/planner/replicas': got string, want integer"),
    (("logLevel=loud",), "'/logLevel': value must be one of 'debug', 'info'"),
    (("scheduler.settings.polcy=fair",), "'/scheduler/settings': additional properties 'polcy' not allowed"),
    (("profiler.settings.max_history=1",), "'/profiler/settings/max_history': minimum: got 1, want 10"),
    (("llm.engine.kind=vllm",), "'/llm/engine/kind': value must be one of 'simulator', 'sglang', 'external'"),
    (("llm.pools.Large.replicas=1",), "'Large' does not match pattern"),
    (("llm.pools.a.engin.kind=sglang",), "additional properties 'engin' not allowed"),
    (("image.digest=sha256:1",), "'/image/digest'"),
    (("telemetry.tracesEndpoint=collector:4317",), "'/telemetry/tracesEndpoint'"),
    (("tools.autoscaling.busyPercent=101",), "'/tools/autoscaling/busyPercent': maximum: got 101, want 100"),
    (("valkey.enabled=false", "redis.url=memory://"), "'/redis/url'"),
    (("valkey.appendfsync=no",), "'/valkey/appendfsync'"),
    (("valkey.enabled=false",), "name exactly one store"),
    (("redis.url=redis://h:6379/0",), "name exactly one store: valkey.enabled (a trial), redis.url or"),
    (("redis.existingSecret=x",), "2 are set"),
    (("llm.engine.kind=sglang",), "llm.engine.model must name a model"),
    (("llm.engine.kind=external",), "llm.engine.url must say where the external engine is"),
    (("tools.autoscaling.enabled=true",), "it needs telemetry.metrics and monitoring.rules.enabled"),
    (("monitoring.rules.enabled=true", "monitoring.rules.without={Nonsense}"), "alerts that are not there: Nonsense"),
]


@pytest.mark.parametrize(("sets", "reason"), WRONG, ids=[" ".join(sets) for sets, _ in WRONG])
def test_wrong_values_are_refused_with_the_reason(sets: tuple[str, ...], reason: str) -> None:
    assert reason in refusal(sets=sets)


def test_helm_has_nothing_to_complain_about() -> None:
    for more in ((), ("--values", FOLDER / "values" / "everything.yaml")):
        answer = run_helm("lint", CHART, "--strict", *more)
        assert answer.returncode == 0, answer.stdout + answer.stderr


def test_an_older_kubernetes_is_refused() -> None:
    answer = run_helm("template", "rel", CHART, "--kube-version", "1.29.0")
    assert "incompatible with Kubernetes" in answer.stderr
    assert run_helm("template", "rel", CHART, "--kube-version", "1.30.0").returncode == 0


def test_what_a_pool_says_comes_before_what_all_have() -> None:
    rendered = render("everything")
    assert rendered.workload("llm-large").object["spec"]["replicas"] == 1
    assert "replicas" not in rendered.workload("llm-small").object["spec"]  # it is scaled, unlike the large one
    assert rendered.workload("llm-large").pod["terminationGracePeriodSeconds"] == 135
    assert "llm-default" not in rendered.components()


def test_two_releases_share_a_namespace_without_a_common_name() -> None:
    first, second = (
        {(each["kind"], each["metadata"]["name"]) for each in render(release=name).objects} for name in "ab"
    )
    assert not first & second


def test_a_new_login_of_the_store_restarts_its_users() -> None:
    def annotations(url: str) -> dict[str, str | None]:
        rendered = render(sets=("valkey.enabled=false", f"redis.url={url}"))
        return {
            each.component: each.object["spec"]["template"]["metadata"].get("annotations", {}).get("checksum/redis")
            for each in rendered.workloads()
            if each.object["kind"] != "Pod"
        }

    before, after = annotations("redis://:a@h:6379/0"), annotations("redis://:b@h:6379/0")
    changed = {component for component in before if before[component] != after[component]}
    assert changed == {"planner", "scheduler", "profiler"}


def test_a_store_in_memory_says_so() -> None:
    sets = ["--set", "valkey.persistence.enabled=false", "--dry-run=client"]
    answer = run_helm("install", "rel", CHART, "--namespace", "serving", *sets)
    assert answer.returncode == 0, answer.stderr
    assert "IN MEMORY" in answer.stdout
    assert "exec deploy/rel-llmsched-planner -- llmsched top --once" in answer.stdout
    assert "IN MEMORY" not in run_helm("install", "rel", CHART, "--dry-run=client").stdout


def test_secrets_are_where_they_belong() -> None:
    answer = template("everything")
    assert answer.stdout.count("llmsched:secret@") == 1, "in the Secret, and nowhere else"
