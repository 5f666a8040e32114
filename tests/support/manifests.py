"""What would be applied to a cluster: the overlays as `kubectl kustomize` renders them, the chart as Helm does."""

import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.support.tools import require_tool

DEPLOY = Path(__file__).parents[2] / "deploy"
OVERLAYS = DEPLOY / "kubernetes" / "overlays"
COMPONENTS = DEPLOY / "kubernetes" / "components"
CHART = DEPLOY / "helm" / "autoenhance-batch"
EXAMPLES = DEPLOY / "helm" / "examples"
NAMESPACE = "batch"

Manifest = dict[str, Any]


def kustomize(folder: Path) -> str:
    """What `kubectl apply -k` would apply. Skips where kubectl is not installed."""
    command = [require_tool("kubectl"), "kustomize", str(folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def with_component(folder: Path, overlay: str, component: str) -> str:
    """An overlay with one more component, as a user adds it in an overlay of their own in `folder`."""
    overlay_path, component_path = (
        os.path.relpath(path.resolve(), folder.resolve()) for path in (OVERLAYS / overlay, COMPONENTS / component)
    )
    namespace = yaml.safe_load((OVERLAYS / overlay / "kustomization.yaml").read_text())["namespace"]
    (folder / "kustomization.yaml").write_text(
        yaml.safe_dump({"namespace": namespace, "resources": [overlay_path], "components": [component_path]})
    )
    return kustomize(folder)


def example(name: str) -> Manifest:
    """The values of one of the examples; those of `default` are none."""
    return {} if name == "default" else yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())


def helm(values: Manifest, release: str = "photos") -> str:
    """What `helm install` would apply, notes left out, in the namespace it would be applied to."""
    import helm_python

    with helm_python.Chart.load(str(CHART)) as chart:
        rendered = chart.render(values, name=release, namespace=NAMESPACE)
    return "\n---\n".join(text for path, text in sorted(rendered.items()) if path.endswith(".yaml"))


@cache
def source(name: str) -> str:
    """An overlay (`kustomize/single`) or an example of the chart (`helm/shared`), rendered."""
    kind, _, which = name.partition("/")
    return kustomize(OVERLAYS / which) if kind == "kustomize" else helm(example(which))


def documents(text: str) -> list[Manifest]:
    """Every manifest; those that Helm puts into the namespace of the release have it."""
    found = [document for document in yaml.safe_load_all(text) if document]
    for document in found:
        document["metadata"].setdefault("namespace", NAMESPACE)
    return found


def of_kind(text: str, kind: str) -> list[Manifest]:
    """The manifests of one kind."""
    return [document for document in documents(text) if document["kind"] == kind]


def one(text: str, kind: str) -> Manifest:
    """The only manifest of a kind."""
    (found,) = of_kind(text, kind)
    return found
