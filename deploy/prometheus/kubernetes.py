"""The rules beside this file for the Prometheus operator, as a manifest and for the Helm chart.

`python deploy/prometheus/kubernetes.py` after every change of the rules.
"""

from pathlib import Path

import yaml

HERE = Path(__file__).parent
DEPLOY = HERE.parent
MANIFEST = DEPLOY / "kubernetes" / "components" / "monitoring" / "rules.yaml"
CHART = DEPLOY / "helm" / "autoenhance-batch" / "files" / "rules.yaml"
_HEAD = "# Made by deploy/prometheus/kubernetes.py from deploy/prometheus/rules.\n"


def made() -> dict[Path, str]:
    """The files that are made from the rules: the `PrometheusRule`, and its `spec` alone."""
    groups = [
        group for path in sorted((HERE / "rules").glob("*.yml")) for group in yaml.safe_load(path.read_text())["groups"]
    ]
    spec = {"groups": groups}
    manifest = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "autoenhance-batch"},
        "spec": spec,
    }
    return {MANIFEST: _file(manifest), CHART: _file(spec)}


def _file(document: object) -> str:
    return _HEAD + yaml.safe_dump(document, sort_keys=False, width=120)


if __name__ == "__main__":
    for path, text in made().items():
        path.write_text(text)
