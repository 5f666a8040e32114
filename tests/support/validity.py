"""Manifests judged by Kubernetes' own schemas."""

import subprocess
import sys
from pathlib import Path

# Kinds of others, of which Kubernetes itself has no schema.
FOREIGN = ("PodMonitor", "PrometheusRule", "HTTPRoute")


def assert_valid(folder: Path, text: str) -> None:
    """A field or kind that nobody knows is an error. `folder` is for the file that is judged."""
    path = folder / "manifests.yaml"
    path.write_text(text)

    checker = Path(sys.executable).with_name("kubernetes-validate")
    ended = subprocess.run([checker, "--strict", str(path)], check=False, capture_output=True, text=True)

    said = (ended.stdout + ended.stderr).splitlines()
    doubts = [line for line in said if "WARN" in line and not any(kind in line for kind in FOREIGN)]
    assert ended.returncode == 0, said
    assert doubts == []
    assert any("deployment" in line.lower() for line in said)
