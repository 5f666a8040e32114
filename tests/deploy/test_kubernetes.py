"""The manifests, as `kubectl kustomize` renders them."""

import runpy
from pathlib import Path

import pytest

from service.cluster.publishing import STOP_SECONDS as SHARING_SECONDS
from service.commands.serve import DRAIN_SECONDS
from service.images.fetch import GRACE_SECONDS
from tests.support.manifests import COMPONENTS, DEPLOY, Manifest, documents, of_kind, one, source, with_component
from tests.support.validity import assert_valid

OVERLAYS = ["single", "staging", "shared"]
# For the last errors and spans, 3 seconds each, and files, after everything else has ended.
LAST_SECONDS = 10
STOP_SECONDS = 2 * DRAIN_SECONDS + GRACE_SECONDS + SHARING_SECONDS + LAST_SECONDS


def manifests(overlay: str) -> dict[str, Manifest]:
    """By kind; of several of one kind the first."""
    found: dict[str, Manifest] = {}
    for manifest in documents(source(f"kustomize/{overlay}")):
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
    assert_valid(tmp_path, source(f"kustomize/{overlay}"))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_grace_period_is_the_sum_of_what_a_stop_takes(overlay: str) -> None:
    """The pause before the signal, and all that a stop takes: nothing is killed midway."""
    spec = pod(overlay)

    pause = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1]
    seconds = float(pause.partition("sleep(")[2].rstrip(")"))

    assert spec["terminationGracePeriodSeconds"] == seconds + STOP_SECONDS


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


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_namespace_comes_along_and_demands_what_the_pods_keep_to(overlay: str) -> None:
    """`kubectl apply -k` on an empty cluster needs no other command; the strictest pod security standard holds."""
    found = manifests(overlay)

    assert found["Namespace"]["metadata"]["name"] == found["Deployment"]["metadata"]["namespace"]
    assert found["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert pod(overlay)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod(overlay)["containers"][0]["securityContext"]["allowPrivilegeEscalation"] is False


@pytest.mark.parametrize("overlay", ["single", "staging"])
@pytest.mark.parametrize("component", ["ingress-nginx", "ingress-traefik", "gateway"])
def test_an_address_can_be_added(tmp_path: Path, component: str, overlay: str) -> None:
    """By a component; it leads to the Service, by its port, whatever the overlay calls that."""
    text = with_component(tmp_path, overlay, component)

    service = one(text, "Service")
    address = one(text, "HTTPRoute" if component == "gateway" else "Ingress")
    if component == "gateway":
        (backend,) = address["spec"]["rules"][0]["backendRefs"]
        found = (backend["name"], backend["port"])
        wanted = (service["metadata"]["name"], service["spec"]["ports"][0]["port"])
    else:
        (path,) = address["spec"]["rules"][0]["http"]["paths"]
        found = (path["backend"]["service"]["name"], path["backend"]["service"]["port"]["name"])
        wanted = (service["metadata"]["name"], service["spec"]["ports"][0]["name"])
    assert found == wanted
    assert address["metadata"]["namespace"] == service["metadata"]["namespace"]
    assert_valid(tmp_path, text)


def test_downloads_under_way_can_scale_too(tmp_path: Path) -> None:
    """CPU decides by itself; the component adds what an adapter measures."""
    plain = one(source("kustomize/shared"), "HorizontalPodAutoscaler")["spec"]["metrics"]
    text = with_component(tmp_path, "shared", "download-metric")

    metrics = one(text, "HorizontalPodAutoscaler")["spec"]["metrics"]

    assert [metric["type"] for metric in plain] == ["Resource"]
    assert metrics == [*plain, metrics[-1]]
    assert metrics[-1]["pods"]["metric"]["name"] == "batch_downloads_in_flight"
    assert_valid(tmp_path, text)


def test_every_component_is_tested() -> None:
    """The one for monitoring is part of two overlays."""
    tested = {"ingress-nginx", "ingress-traefik", "gateway", "download-metric", "monitoring"}

    assert {path.parent.name for path in COMPONENTS.glob("*/kustomization.yaml")} == tested


def test_the_pods_are_scraped_as_the_job_that_alerts_look_for() -> None:
    """By the pods' own label."""
    (monitor,) = of_kind(source("kustomize/single"), "PodMonitor")
    labels = one(source("kustomize/single"), "Deployment")["spec"]["template"]["metadata"]["labels"]

    assert labels[monitor["spec"]["jobLabel"]] == "autoenhance-batch"
    rules = (DEPLOY / "prometheus" / "rules" / "alerts.yml").read_text()
    assert 'job="autoenhance-batch"' in rules


def test_the_cluster_has_the_rules_that_are_tested() -> None:
    """`python deploy/prometheus/kubernetes.py` after every change of the rules."""
    made = runpy.run_path(str(DEPLOY / "prometheus" / "kubernetes.py"))["made"]()

    assert made
    assert {path: path.read_text() for path in made} == made
