"""The Helm chart: what it renders is valid, safe, and names only what there is."""

import re
from typing import Any

import pytest

from shared.settings import REPOSITORY, Settings
from tests.support.chart import CHART, check_manifest, containers, of_kind, rendered, run_helm

OPEN = "allowAnonymous=true"
EVERYTHING = (
    "existingSecret=retouch",
    "keda.enabled=true",
    "keda.keySecret=metrics",
    "serviceMonitor.enabled=true",
    "serviceMonitor.keySecret=metrics",
    "ingress.enabled=true",
    "ingress.host=photos.example.org",
    "ingress.path=/retouch/",
    "ingress.tlsSecret=tls",
    "gateway.autoscaling.enabled=true",
    "bases[0].name=tiny",
    "bases[0].model=/app/models/tiny",
    "bases[1].name=sd15",
    "bases[1].model=/models/dreamshaper_8.safetensors",
    "bases[1].base=sd15/dreamshaper_8",
    "bases[1].gpus=1",
    "models.existingClaim=models",
    "loras.existingClaim=loras",
    "loras.url=s3://photos/loras",
    "blobs.url=s3://photos/retouch",
)
ELSEWHERE = (OPEN, "store.url=rediss://store:6379/0", "blobs.url=", "blobs.existingClaim=pictures")
VARIANTS = [(OPEN,), EVERYTHING, ELSEWHERE]


def test_helm_lint_has_no_complaint() -> None:
    answer = run_helm("lint", "--strict", str(CHART), "--set", OPEN)

    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("values", VARIANTS, ids=["plain", "everything", "elsewhere"])
def test_every_manifest_is_one_that_kubernetes_and_the_operators_accept(
    values: tuple[str, ...],
) -> None:
    manifests = rendered(*values)

    for manifest in manifests:
        check_manifest(manifest)
    names = [(one["kind"], one["metadata"]["name"]) for one in manifests]
    assert len(set(names)) == len(names)


def test_what_stands_in_for_kubeconform_refuses_what_is_wrong() -> None:
    (service, *_) = of_kind(rendered(OPEN), "Service")
    service["spec"]["portz"] = []
    with pytest.raises(ValueError, match="portz"):
        check_manifest(service)
    (scaled, *_) = of_kind(rendered(*EVERYTHING), "ScaledObject")
    scaled["spec"]["maxReplicas"] = 3
    with pytest.raises(ValueError, match="maxReplicas"):
        check_manifest(scaled)


@pytest.mark.parametrize("values", VARIANTS, ids=["plain", "everything", "elsewhere"])
def test_pods_run_as_nobody_special_on_a_file_system_that_they_cannot_change(
    values: tuple[str, ...],
) -> None:
    manifests = rendered(*values)
    for container in containers(manifests):
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]
    for one in manifests:
        if "template" in one["spec"]:
            pod = one["spec"]["template"]["spec"]
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["automountServiceAccountToken"] is False


@pytest.mark.parametrize("values", VARIANTS, ids=["plain", "everything", "elsewhere"])
def test_settings_and_metrics_are_ones_that_there_are(values: tuple[str, ...]) -> None:
    settings = {f"RETOUCH_{name.upper()}" for name in Settings.model_fields}

    named = {e["name"] for one in containers(rendered(*values)) for e in one.get("env", [])}

    assert {name for name in named if name.startswith("RETOUCH_")} <= settings


@pytest.mark.parametrize("values", VARIANTS, ids=["plain", "everything", "elsewhere"])
def test_every_pod_has_the_embedded_base_s_loras_and_enlarger(values: tuple[str, ...]) -> None:
    """Without a volume there is nothing but what the images hold, at the settings' defaults."""
    stages = (REPOSITORY / "Dockerfile").read_text().split("\nFROM ")
    for name in ("api", "worker"):
        (stage,) = (stage for stage in stages if stage.startswith(f"common AS {name}\n"))
        assert {"COPY loras loras", "COPY upscalers upscalers"} <= set(stage.splitlines())
    for one in containers(rendered(*values)):
        env = {entry["name"]: entry.get("value", "") for entry in one.get("env", [])}
        if "RETOUCH_DATA_DIR" in env:
            assert env["RETOUCH_LORAS_DIR"].split(",") == ["/loras", "/app/loras"]
            assert "RETOUCH_UPSCALERS_DIR" not in env


def test_no_secret_is_in_a_manifest() -> None:
    manifests = rendered(*EVERYTHING)

    assert of_kind(manifests, "Secret") == []
    sources = [one["envFrom"] for one in containers(manifests) if "envFrom" in one]
    assert sources == [[{"secretRef": {"name": "retouch"}}]] * 3


def test_an_open_door_is_refused_unless_it_is_wanted() -> None:
    answer = run_helm("template", "retouch", str(CHART))

    assert answer.returncode != 0
    assert "allowAnonymous" in answer.stderr


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("settings.RETOUCHED=1", "RETOUCHED"),
        ("blobs.url=http://bucket", "url"),
        ("keda.maximum=3", "maximum"),
        ("store.memory=lots", "memory"),
        ("bases[0].name=Tiny_1", "name"),
    ],
)
def test_a_value_that_the_chart_does_not_know_is_refused_by_name(value: str, named: str) -> None:
    answer = run_helm("template", "retouch", str(CHART), "--set", OPEN, "--set", value)

    assert answer.returncode != 0
    assert named in answer.stderr


def test_each_base_scales_on_its_own_jobs_from_zero_with_the_metrics_key() -> None:
    manifests = rendered(*EVERYTHING)

    def shown(scaled: dict[str, Any]) -> tuple[str, int, str]:
        (trigger,) = scaled["spec"]["triggers"]
        location = trigger["metadata"]["valueLocation"]
        found = re.fullmatch(r'retouch_unfinished_jobs\{base="(.*)"\}', location)
        assert found is not None
        assert trigger["authenticationRef"] == {"name": "retouch-metrics"}
        target = scaled["spec"]["scaleTargetRef"]["name"]
        return target, scaled["spec"]["minReplicaCount"], found[1]

    assert [shown(scaled) for scaled in of_kind(manifests, "ScaledObject")] == [
        ("retouch-worker-tiny", 0, "tiny"),
        ("retouch-worker-sd15", 0, "sd15/dreamshaper_8"),
    ]
    # The autoscalers decide how many, and not the deployments
    assert all("replicas" not in one["spec"] for one in of_kind(manifests, "Deployment"))


def test_a_gpu_is_asked_for_where_a_base_needs_one() -> None:
    deployments = {
        one["metadata"]["name"]: containers([one])[0]["resources"]["limits"]
        for one in of_kind(rendered(*EVERYTHING), "Deployment")
    }

    assert deployments["retouch-worker-sd15"]["nvidia.com/gpu"] == 1
    assert "nvidia.com/gpu" not in deployments["retouch-worker-tiny"]


def test_a_worker_has_longer_to_stop_than_its_grace() -> None:
    grace = Settings.model_fields["grace_seconds"].default
    for one in of_kind(rendered(OPEN), "Deployment"):
        if "worker" in one["metadata"]["name"]:
            assert one["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > grace + 8
