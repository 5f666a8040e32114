"""What the rendered manifests allow on the network, and whom their selectors take in."""

from typing import NamedTuple

import pytest

from tests.support.manifests import documents, of_kind, one, source
from tests.support.network_policies import Host, Pod, is_allowed, matches, selected

SINGLE = ["kustomize/single", "kustomize/staging", "helm/default", "helm/nginx"]
SHARED = ["kustomize/shared", "helm/shared"]
ALL = SINGLE + SHARED


class Way(NamedTuple):
    """A connection from or to the service."""

    port: int
    other: Pod | Host
    protocol: str = "TCP"


DNS = Pod("kube-system", {"k8s-app": "kube-dns"})
COLLECTOR = Pod("observability", {"app.kubernetes.io/name": "opentelemetry-collector"})
STORE = Pod("data", {"app.kubernetes.io/component": "autoenhance-batch-store"})
AUTOENHANCE, INSIDE, METADATA = Host("203.0.113.7"), Host("10.1.2.3"), Host("169.254.169.254")
OUT = {
    "names": Way(53, DNS, "UDP"),
    "long names": Way(53, DNS),
    "names at the node": Way(53, Host("169.254.20.10"), "UDP"),
    "traces": Way(4318, COLLECTOR),
    "Autoenhance": Way(443, AUTOENHANCE),
    "Autoenhance over IPv6": Way(443, Host("2001:db8::7")),
}
NOT_OUT = {
    "names of a pod that only says so": Way(53, Pod("elsewhere", {"k8s-app": "kube-dns"}), "UDP"),
    "another pod": Way(443, Pod("elsewhere", {"app": "database"})),
    "a neighbour": Way(8000, Pod("same", {"app": "neighbour"})),
    "another port of the collector": Way(22, COLLECTOR),
    "plain HTTP": Way(80, AUTOENHANCE),
    "a private address": Way(443, INSIDE),
    "the cloud's metadata": Way(443, METADATA),
}
STORES = {"Redis": Way(6379, STORE), "S3": Way(9000, STORE)}
NOT_STORES = {"Redis of others": Way(6379, Pod("data", {"app": "redis"})), "another port": Way(22, STORE)}
IN: dict[str, Pod | Host] = {
    "nginx": Pod("ingress-nginx", {"app.kubernetes.io/name": "ingress-nginx"}),
    "Traefik": Pod("traefik", {"app.kubernetes.io/name": "traefik"}),
    "a gateway": Pod("envoy-gateway-system", {"app.kubernetes.io/name": "envoy"}),
    "Prometheus": Pod("monitoring", {"app.kubernetes.io/name": "prometheus"}),
    "a caller": Pod("portal", {"app": "portal"}, namespace_labels={"autoenhance-batch/caller": "true"}),
}
NOT_IN: dict[str, Pod | Host] = {
    "another pod": Pod("elsewhere", {"app": "curious"}),
    "a neighbour": Pod("same", {"app": "neighbour"}),
    "an address outside": AUTOENHANCE,
}


def service(name: str) -> Pod:
    """A pod of the rendered Deployment."""
    deployment = one(source(name), "Deployment")
    template = deployment["spec"]["template"]
    ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
    return Pod(deployment["metadata"]["namespace"], template["metadata"]["labels"], ports)


def moved(other: Pod | Host, namespace: str) -> Pod | Host:
    """A pod of the namespace `same` is put into that of the service."""
    return Pod(namespace, other.labels) if isinstance(other, Pod) and other.namespace == "same" else other


@pytest.mark.parametrize("name", ALL)
def test_the_service_reaches_what_it_needs_and_nothing_else(name: str) -> None:
    """Names, Autoenhance and the collector; Redis and S3 in the cluster only where they are shared."""
    policies, pod = of_kind(source(name), "NetworkPolicy"), service(name)
    ways = OUT | NOT_OUT | STORES | NOT_STORES

    allowed = {
        what
        for what, way in ways.items()
        if is_allowed(policies, pod, moved(way.other, pod.namespace), way.port, way.protocol)
    }

    assert allowed == set(OUT) | (set(STORES) if name in SHARED else set())


@pytest.mark.parametrize("name", ALL)
def test_who_may_call_reaches_it_and_nobody_else(name: str) -> None:
    """Ingress controllers, gateways, Prometheus, and namespaces with the label; at its port alone."""
    policies, pod = of_kind(source(name), "NetworkPolicy"), service(name)
    around: dict[str, Pod | Host] = {**IN, **NOT_IN}
    others = {what: moved(other, pod.namespace) for what, other in around.items()}

    allowed = {what for what, other in others.items() if is_allowed(policies, other, pod, 8000)}
    elsewhere = {what for what, other in others.items() if is_allowed(policies, other, pod, 22)}

    assert (allowed, elsewhere) == (set(IN), set())


@pytest.mark.parametrize("name", ALL)
def test_nothing_else_in_the_namespace_is_taken_in(name: str) -> None:
    """Policies, the disruption budget, the Service, the pod monitor and the spread count the service's pods alone."""
    text, pod = source(name), service(name)
    neighbour = Pod(pod.namespace, {"app": "neighbour"})
    selectors = {
        "Deployment": one(text, "Deployment")["spec"]["selector"],
        "PodDisruptionBudget": one(text, "PodDisruptionBudget")["spec"]["selector"],
        "Service": {"matchLabels": one(text, "Service")["spec"]["selector"]},
    }
    for monitor in of_kind(text, "PodMonitor"):
        selectors["PodMonitor"] = monitor["spec"]["selector"]
    for constraint in one(text, "Deployment")["spec"]["template"]["spec"].get("topologySpreadConstraints", ()):
        selectors["spread"] = constraint["labelSelector"]

    for what, selector in selectors.items():
        assert (matches(selector, pod.labels), matches(selector, neighbour.labels)) == (True, False), what
    policies = of_kind(text, "NetworkPolicy")
    for direction in ("Ingress", "Egress"):
        assert list(selected(policies, pod, direction))
        assert list(selected(policies, neighbour, direction)) == []


@pytest.mark.parametrize("name", ALL)
def test_everything_is_in_one_namespace(name: str) -> None:
    """A policy elsewhere would protect nothing."""
    found = [document for document in documents(source(name)) if document["kind"] != "Namespace"]

    assert {document["metadata"]["namespace"] for document in found} == {service(name).namespace}


def test_the_evaluator_knows_the_rules() -> None:
    """No policy: everything. An empty selector: every pod. No rules: nothing. A rule without peers: everybody."""
    a, b = Pod("x", {"app": "a"}, {"web": 80}), Pod("y", {"app": "b"})

    def policy(selector: dict[str, object], **spec: object) -> dict[str, object]:
        return {"metadata": {"namespace": "x"}, "spec": {"podSelector": selector, **spec}}

    assert is_allowed([], b, a, 80)
    assert not is_allowed([policy({}, ingress=[])], b, a, 80)
    assert not is_allowed([policy({}, policyTypes=["Ingress"])], b, a, 80)
    assert is_allowed([policy({}, ingress=[{}])], b, a, 80)
    assert is_allowed([policy({"matchLabels": {"app": "other"}}, ingress=[])], b, a, 80)
    assert is_allowed([policy({}, ingress=[{"ports": [{"port": "web"}]}])], b, a, 80)
    assert not is_allowed([policy({}, ingress=[{"ports": [{"port": "web", "protocol": "UDP"}]}])], b, a, 80)
    assert not is_allowed([policy({}, ingress=[{"from": [{"podSelector": {}}]}])], b, a, 80)
    assert is_allowed([policy({}, ingress=[]), policy({}, ingress=[{}])], b, a, 80)
    assert is_allowed([policy({}, ingress=[])], a, b, 80)
    assert not is_allowed([policy({}, policyTypes=["Egress"])], a, b, 80)
