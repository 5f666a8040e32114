"""The manifests, as `kubectl kustomize` renders them."""

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.commands.serve import DRAIN_SECONDS
from tests.tools import require_tool

KUBERNETES = Path(__file__).parent.parent.parent / "deploy" / "kubernetes"
OVERLAYS = ["single", "staging", "shared"]
# The Prometheus operator's kinds, of which Kubernetes itself has no schema.
FOREIGN = ("ServiceMonitor", "PrometheusRule")
# For the last errors and spans, 3 seconds each, and files, after everything else has ended.
LAST_SECONDS = 10

Manifest = dict[str, Any]


def rendered(overlay: str) -> str:
    """What would be applied. Skips where kubectl is not installed."""
    command = [require_tool("kubectl"), "kustomize", str(KUBERNETES / "overlays" / overlay)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def manifests(overlay: str) -> dict[str, Manifest]:
    """By kind; of several of one kind the first."""
    found: dict[str, Manifest] = {}
    for manifest in yaml.safe_load_all(rendered(overlay)):
        found.setdefault(manifest["kind"], manifest)
    return found


def pod(overlay: str) -> Manifest:
    spec: Manifest = manifests(overlay)["Deployment"]["spec"]["template"]["spec"]
    return spec


def bytes_of(quantity: str) -> int:
    units = {"Mi": 1 << 20, "Gi": 1 << 30}
    return int(quantity[:-2]) * units[quantity[-2:]]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_manifest_is_valid(tmp_path: Path, overlay: str) -> None:
    """Against Kubernetes' own schemas; a field or kind that nobody knows is an error."""
    path = tmp_path / "manifests.yaml"
    path.write_text(rendered(overlay))

    checker = Path(sys.executable).with_name("kubernetes-validate")
    ended = subprocess.run([checker, "--strict", str(path)], check=False, capture_output=True, text=True)

    said = (ended.stdout + ended.stderr).splitlines()
    doubts = [line for line in said if "WARN" in line and not any(kind in line for kind in FOREIGN)]
    assert ended.returncode == 0, said
    assert doubts == []
    assert any("Deployment" in line or "deployment" in line for line in said)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_grace_period_is_the_sum_of_what_a_stop_takes(overlay: str) -> None:
    """The pause before the signal, two drains, and the last spans: no download is killed in the middle."""
    spec = pod(overlay)

    pause = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1]
    seconds = float(pause.partition("sleep(")[2].rstrip(")"))

    assert spec["terminationGracePeriodSeconds"] == seconds + 2 * DRAIN_SECONDS + LAST_SECONDS


@pytest.mark.parametrize("overlay", ["single", "staging"])
def test_the_volume_is_larger_than_what_images_may_take(overlay: str) -> None:
    """SQLite and its reserve fit beside them."""
    found = manifests(overlay)

    volume = bytes_of(found["PersistentVolumeClaim"]["spec"]["resources"]["requests"]["storage"])

    assert volume >= int(found["ConfigMap"]["data"]["STORE_MAX_BYTES"]) * 1.2


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_probes_are_apart(overlay: str) -> None:
    """An unready service is not restarted, and a slow start is not an unhealthy one."""
    container = pod(overlay)["containers"][0]

    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}

    assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_container_can_do_no_more_than_it_must(overlay: str) -> None:
    """Not root, nothing to write to but its volumes, no capabilities, no token of the cluster."""
    spec = pod(overlay)
    container = spec["containers"][0]

    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/data", "/tmp"}


def test_one_machine_replaces_its_pod_and_several_roll() -> None:
    """One directory has one owner; replicas with stores of their own may overlap."""
    single, shared = manifests("single")["Deployment"]["spec"], manifests("shared")["Deployment"]["spec"]

    assert (single["replicas"], single["strategy"]) == (1, {"type": "Recreate"})
    assert shared["strategy"]["type"] == "RollingUpdate"
    assert "replicas" not in shared
    assert "PersistentVolumeClaim" not in manifests("shared")


def test_no_secret_is_in_the_repository() -> None:
    """Whoever installs makes it."""
    assert all("Secret" not in manifests(overlay) for overlay in OVERLAYS)


def test_the_cluster_has_the_rules_that_are_tested() -> None:
    """`python deploy/prometheus/kubernetes.py` after every change of the rules."""
    script = KUBERNETES.parent / "prometheus" / "kubernetes.py"

    made = runpy.run_path(str(script))

    assert made["TARGET"].read_text() == made["manifest"]()
