"""The chart, rendered and linted by Helm itself."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from service import __version__
from service.settings import Settings
from tests.support.manifests import CHART, DEPLOY, EXAMPLES, documents, example, helm, of_kind, one, source
from tests.support.validity import assert_valid

NAMES = ["default", *sorted(path.stem for path in EXAMPLES.glob("*.yaml"))]
WARNING = 2
# A pod's labels and names differ between chart and overlays; everything else is the same.
NAMED = ("serviceAccountName",)


def spec(name: str) -> dict[str, Any]:
    """The pod of a rendered Deployment, without what is named after the release."""
    pod: dict[str, Any] = one(source(name), "Deployment")["spec"]["template"]["spec"]
    kept = {key: value for key, value in pod.items() if key not in (*NAMED, "topologySpreadConstraints")}
    (container,) = kept["containers"]
    container = {key: value for key, value in container.items() if key != "envFrom"}
    volumes = [
        {"name": volume["name"], "claim": True} if "persistentVolumeClaim" in volume else volume
        for volume in kept["volumes"]
    ]
    return {**kept, "containers": [container], "volumes": volumes}


def test_lint_has_nothing_to_say() -> None:
    """No error and no warning; it would like an icon."""
    import helm_python

    found = helm_python.lint(str(CHART), strict=True)

    assert found["total_charts_linted"] == 1
    assert found["errors"] == []
    assert [message for message in found["messages"] if message["severity"] >= WARNING] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_example_renders_to_valid_manifests(tmp_path: Path, name: str) -> None:
    """Against the chart's own schema, and Kubernetes'."""
    import helm_python

    with helm_python.Chart.load(str(CHART)) as chart:
        chart.validate_schema(example(name))

    assert_valid(tmp_path, source(f"helm/{name}"))


@pytest.mark.parametrize(
    "values",
    [
        {"shared": {"enabld": True}},
        {"settings": {"trusted_proxies": "10.0.0.0/8"}},
        {"storage": {"sizeGiB": 0}},
        {"autoscaling": {"enabled": True}},
        {"httpRoute": {"enabled": True}},
        {"shared": {"enabled": True}, "autoscaling": {"enabled": True, "minReplicas": 7}},
        {"shared": {"enabled": True}, "storage": {"existingClaim": "photos"}},
    ],
)
def test_values_that_cannot_be_meant_are_refused(values: dict[str, Any]) -> None:
    """A misspelt name, a setting in lower case, no storage, two processes on one directory, and so on."""
    import helm_python

    def install() -> None:
        with helm_python.Chart.load(str(CHART)) as chart:
            chart.validate_schema(values)
        helm(values)

    with pytest.raises(helm_python.HelmError):
        install()


def test_secrets_among_the_settings_are_refused() -> None:
    """They would be in a ConfigMap, which many may read."""
    import helm_python

    secrets = [name.upper() for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)]
    refused = []
    for name in (*secrets, "AWS_SECRET_ACCESS_KEY"):
        with pytest.raises(helm_python.HelmError, match=f"settings.{name} is a secret"):
            helm({"settings": {name: "x"}})
        refused.append(name)

    assert {"AUTOENHANCE_API_KEY", "SERVICE_API_KEY", "SHARED_URL", "AWS_SECRET_ACCESS_KEY"} <= set(refused)


def test_the_chart_and_the_overlays_are_the_same_pods() -> None:
    """One replica, and several: probes, limits, volumes, security, grace."""
    for name, overlay in (("default", "single"), ("shared", "shared")):
        assert spec(f"helm/{name}") == spec(f"kustomize/{overlay}")


def test_the_chart_and_the_overlays_have_the_same_policies_and_scaling() -> None:
    """The overlays say in two policies what the chart says in one."""
    chart, overlay = source("helm/shared"), source("kustomize/shared")

    assert (
        one(chart, "HorizontalPodAutoscaler")["spec"]["metrics"]
        == (one(overlay, "HorizontalPodAutoscaler")["spec"]["metrics"])
    )
    policy = one(chart, "NetworkPolicy")["spec"]
    others = [policy["spec"] for policy in of_kind(overlay, "NetworkPolicy")]
    assert policy["ingress"] == [rule for other in others for rule in other.get("ingress", ())]
    assert policy["egress"] == [rule for other in others for rule in other["egress"]]


def test_the_settings_of_chart_and_overlays_exist_and_are_taken() -> None:
    """A number of YAML stays a number; what the image needs cannot be changed."""
    rendered = helm({"settings": {"STORE_MAX_BYTES": 17179869184, "AUTO_BATCH": True, "IMAGE_TIMEOUT": 1.5, "PORT": 9}})

    for text in (rendered, source("kustomize/single"), source("kustomize/shared"), source("helm/default")):
        data = one(text, "ConfigMap")["data"]
        assert {name.lower() for name in data} <= set(Settings.model_fields)
        Settings.load(_env_file=None, **{name.lower(): value for name, value in data.items()})
    data = one(rendered, "ConfigMap")["data"]
    chosen = ("STORE_MAX_BYTES", "AUTO_BATCH", "IMAGE_TIMEOUT", "PORT", "HOST")
    assert [data[name] for name in chosen] == ["17179869184", "true", "1.5", "8000", "0.0.0.0"]


def test_images_take_four_fifths_of_the_volume() -> None:
    """Whatever its size."""
    text = helm({"storage": {"sizeGiB": 100}})

    assert one(text, "PersistentVolumeClaim")["spec"]["resources"]["requests"]["storage"] == "100Gi"
    assert 79 << 30 < int(one(text, "ConfigMap")["data"]["STORE_MAX_BYTES"]) <= 80 << 30


def test_what_is_optional_is_off_until_it_is_asked_for() -> None:
    """Without the Prometheus operator, an ingress controller or a gateway the chart installs."""
    optional = {"PodMonitor", "PrometheusRule", "Ingress", "HTTPRoute", "HorizontalPodAutoscaler"}

    assert {document["kind"] for document in documents(source("helm/default"))}.isdisjoint(optional)
    shown = {document["kind"] for name in NAMES for document in documents(source(f"helm/{name}"))}
    assert shown >= optional
    assert "Secret" not in shown


def test_downloads_under_way_can_scale_too() -> None:
    """As the component for the overlays does."""
    values = example("shared")
    values["autoscaling"]["downloadsInFlight"] = 4

    metrics = one(helm(values), "HorizontalPodAutoscaler")["spec"]["metrics"]

    assert [metric["type"] for metric in metrics] == ["Resource", "Pods"]
    assert metrics[1]["pods"]["metric"]["name"] == "batch_downloads_in_flight"


@pytest.mark.parametrize("name", ["nginx", "traefik", "gateway"])
def test_an_address_leads_to_the_service(name: str) -> None:
    """The right Service and port, nothing buffered, the proxy trusted."""
    text = source(f"helm/{name}")
    service = one(text, "Service")
    if name == "gateway":
        (backend,) = one(text, "HTTPRoute")["spec"]["rules"][0]["backendRefs"]
        found = (backend["name"], backend["port"])
        wanted = (service["metadata"]["name"], service["spec"]["ports"][0]["port"])
    else:
        (path,) = one(text, "Ingress")["spec"]["rules"][0]["http"]["paths"]
        found = (path["backend"]["service"]["name"], path["backend"]["service"]["port"]["name"])
        wanted = (service["metadata"]["name"], service["spec"]["ports"][0]["name"])

    assert found == wanted
    assert one(text, "ConfigMap")["data"]["TRUSTED_PROXIES"]


def test_two_releases_have_nothing_in_common() -> None:
    """Each selects its own pods, under names of its own."""
    first, second = (documents(helm({}, release)) for release in ("one", "two"))

    names = [{(document["kind"], document["metadata"]["name"]) for document in each} for each in (first, second)]
    assert names[0].isdisjoint(names[1])
    selectors = [
        [document["spec"]["selector"] for document in each if document["kind"] == "Deployment"]
        for each in (first, second)
    ]
    assert selectors[0] != selectors[1]


def test_the_chart_is_of_this_version_and_has_the_tested_rules() -> None:
    """`python deploy/prometheus/kubernetes.py` after every change of the rules."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    rules = [yaml.safe_load(path.read_text()) for path in sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))]

    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
    assert one(source("helm/shared"), "PrometheusRule")["spec"]["groups"] == [
        group for rule in rules for group in rule["groups"]
    ]
