"""The rules beside this file as the Prometheus operator takes them: `python deploy/prometheus/kubernetes.py`."""

from pathlib import Path

import yaml

HERE = Path(__file__).parent
TARGET = HERE.parent / "kubernetes" / "components" / "monitoring" / "rules.yaml"
_HEAD = "# Made by deploy/prometheus/kubernetes.py from deploy/prometheus/rules.\n"


def manifest() -> str:
    """The `PrometheusRule` with all groups."""
    groups = [
        group for path in sorted((HERE / "rules").glob("*.yml")) for group in yaml.safe_load(path.read_text())["groups"]
    ]
    document = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "autoenhance-batch"},
        "spec": {"groups": groups},
    }
    return _HEAD + yaml.safe_dump(document, sort_keys=False, width=120)


if __name__ == "__main__":
    TARGET.write_text(manifest())
