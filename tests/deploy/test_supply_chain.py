"""Where what we use comes from: fixed, and looked after."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
# What each ecosystem is read from.
MANIFESTS = {
    "pip": "pyproject.toml",
    "github-actions": ".github/workflows/ci.yml",
    "docker": "Dockerfile",
    "docker-compose": "docker-compose.yml",
    "npm": "package-lock.json",
}


def test_actions_are_used_by_their_commit() -> None:
    """A tag can be moved; the comment says which version it is."""
    lines = [
        line.partition("uses:")[2].strip()
        for path in (ROOT / ".github" / "workflows").glob("*.yml")
        for line in path.read_text().splitlines()
        if "uses:" in line
    ]

    assert lines
    assert [line for line in lines if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*", line)] == []


def test_the_base_image_is_used_by_its_digest() -> None:
    """The tag beside it says which version it is. Dependabot proposes no update for what is in a variable."""
    (base, *others) = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)

    assert set(others) == {"base"}

    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", base)


def test_every_lock_and_image_is_looked_after() -> None:
    """Updates are proposed for each place that pins something."""
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())["updates"]
    places = {
        (update["package-ecosystem"], folder)
        for update in updates
        for folder in update.get("directories", [update.get("directory")])
    }

    assert all((ROOT / folder.strip("/") / MANIFESTS[ecosystem]).is_file() for ecosystem, folder in places)
    locks = {f"/{path.parent.relative_to(ROOT)}" for path in (ROOT / "tests").glob("**/package-lock.json")}
    locks = {lock for lock in locks if "node_modules" not in lock}
    assert {folder for ecosystem, folder in places if ecosystem == "npm"} == locks
    assert {ecosystem for ecosystem, _ in places} == set(MANIFESTS)
