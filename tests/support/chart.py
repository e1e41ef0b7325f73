"""The chart as helm renders it, and manifests as Kubernetes would accept them."""

import json
import shutil
import subprocess
from functools import cache
from typing import Any

import pytest
import yaml

from shared.settings import REPOSITORY

CHART = REPOSITORY / "deploy/helm/retouch"
SCHEMAS = REPOSITORY / "deploy/helm/schemas"
KUBERNETES = "1.35"


def run_helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs helm. Skips the test where there is none."""
    found = shutil.which("helm")
    if found is None:
        pytest.skip("helm is not installed (.ci/run fetches it)")
    return subprocess.run(
        [found, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def rendered(*values: str) -> list[dict[str, Any]]:
    """Every manifest that the chart gives for these `--set` values."""
    return [one for one in yaml.safe_load_all(_text(*values)) if one]


@cache
def _text(*values: str) -> str:
    flags = [part for value in values for part in ("--set", value)]
    answer = run_helm("template", "retouch", str(CHART), *flags)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def check_manifest(manifest: dict[str, Any]) -> None:
    """Raises ValueError with the field that Kubernetes or the resource's operator would refuse."""
    # Takes two seconds, which every process that collects tests would spend.
    import jsonschema
    import kubernetes_validate

    schema = SCHEMAS / f"{manifest['kind']}.json"
    try:
        if schema.exists():
            jsonschema.validate(manifest, _schema(manifest["kind"]))
        else:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
        raise ValueError(str(error)) from error


@cache
def _schema(kind: str) -> Any:
    return json.loads((SCHEMAS / f"{kind}.json").read_text())


def of_kind(manifests: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [one for one in manifests if one["kind"] == kind]


def containers(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every container of every pod."""
    specs = [one["spec"]["template"]["spec"] for one in manifests if "template" in one["spec"]]
    return [container for spec in specs for container in spec["containers"]]
