"""What network policies allow, by the rules of Kubernetes: a pod that no policy selects may do everything; one that is
selected may do what at least one of them allows."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """A pod as policies see it; `ports` are the names of its ports."""

    namespace: str
    labels: dict[str, str]
    ports: dict[str, int] = field(default_factory=dict)
    namespace_labels: dict[str, str] = field(default_factory=dict)
    """Besides `kubernetes.io/metadata.name`, which every namespace has."""


@dataclass(frozen=True)
class Host:
    """An address outside of the cluster."""

    address: str


def is_allowed(
    policies: Iterable[Manifest], source: Pod | Host, target: Pod | Host, port: int, protocol: str = "TCP"
) -> bool:
    """Whether `source` may open a connection to that port of `target`: both ends must let it through."""
    policies = list(policies)
    out = not isinstance(source, Pod) or _passes(policies, "Egress", source, target, (target, port, protocol))
    into = not isinstance(target, Pod) or _passes(policies, "Ingress", target, source, (target, port, protocol))
    return out and into


def selected(policies: Iterable[Manifest], pod: Pod, direction: str) -> Iterator[Manifest]:
    """The policies that restrict a pod in a direction (`Ingress`, `Egress`)."""
    for policy in policies:
        spec = policy["spec"]
        types = spec.get("policyTypes", ["Ingress", *(["Egress"] if "egress" in spec else [])])
        is_its = policy["metadata"]["namespace"] == pod.namespace and matches(spec["podSelector"], pod.labels)
        if is_its and direction in types:
            yield policy


def _passes(
    policies: list[Manifest], direction: str, pod: Pod, peer: Pod | Host, what: tuple[Pod | Host, int, str]
) -> bool:
    ours = list(selected(policies, pod, direction))
    side = "from" if direction == "Ingress" else "to"
    rules = [(policy, rule) for policy in ours for rule in policy["spec"].get(direction.lower()) or ()]
    return not ours or any(
        _is_peer(rule.get(side), peer, policy["metadata"]["namespace"]) and _is_port(rule.get("ports"), *what)
        for policy, rule in rules
    )


def _is_peer(peers: list[Manifest] | None, other: Pod | Host, namespace: str) -> bool:
    return not peers or any(_matches_peer(peer, other, namespace) for peer in peers)


def _matches_peer(peer: Manifest, other: Pod | Host, namespace: str) -> bool:
    if "ipBlock" in peer:
        return isinstance(other, Host) and _is_within(peer["ipBlock"], other.address)
    if not isinstance(other, Pod):
        return False
    labels = {"kubernetes.io/metadata.name": other.namespace, **other.namespace_labels}
    in_namespace = (
        matches(peer["namespaceSelector"], labels) if "namespaceSelector" in peer else other.namespace == namespace
    )
    return in_namespace and matches(peer.get("podSelector", {}), other.labels)


def _is_within(block: Manifest, address: str) -> bool:
    found = ip_address(address)
    return found in ip_network(block["cidr"]) and all(found not in ip_network(one) for one in block.get("except", ()))


def _is_port(ports: list[Manifest] | None, target: Pod | Host, port: int, protocol: str) -> bool:
    def number(given: str | int) -> int | None:
        return given if isinstance(given, int) else target.ports.get(given) if isinstance(target, Pod) else None

    return not ports or any(
        one.get("protocol", "TCP") == protocol and ("port" not in one or number(one["port"]) == port) for one in ports
    )


def matches(selector: Manifest, labels: dict[str, str]) -> bool:
    """Whether a label selector takes in an object with these labels; an empty one takes in all."""
    unknown = set(selector) - {"matchLabels", "matchExpressions"}
    assert not unknown, f"the evaluator does not know {unknown}"
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items()) and all(
        _expression(one, labels) for one in selector.get("matchExpressions", ())
    )


def _expression(expression: Manifest, labels: dict[str, str]) -> bool:
    key, values = expression["key"], expression.get("values", ())
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case operator:
            raise ValueError(operator)
