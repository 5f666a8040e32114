"""What is installed is what is in the repository, and enough to serve."""

import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from aiohttp import ClientSession

from tests.process import ServiceProcess

ROOT = Path(__file__).parent.parent


def test_every_file_of_the_package_ships() -> None:
    """Pages, pictures, styles and photos too: every file in `service/` that is no Python is named as package data."""
    files = {path for path in (ROOT / "service").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["service"]

    shipped = {path for pattern in patterns for path in (ROOT / "service").glob(pattern)}

    assert sorted(path for path in files - shipped if path.suffix != ".py") == []


async def test_a_default_install_serves(tmp_path: Path) -> None:
    """Given an interpreter without the extras and the tools of developers, the service starts and is ready."""
    absent = only_in_development()
    assert {"docket", "redis", "obstore", "PIL", "pytest"} <= absent
    lines = ["import sys", *(f"sys.modules[{name!r}] = None" for name in sorted(absent))]
    (tmp_path / "sitecustomize.py").write_text("\n".join(lines))

    async with (
        ServiceProcess(tmp_path / "data", PYTHONPATH=f"{tmp_path}:{ROOT}") as service,
        ClientSession() as session,
    ):
        statuses = []
        for path in ("/readyz", "/", "/docs", "/openapi.json", "/metrics"):
            async with session.get(service.url + path) as response:
                statuses.append(response.status)

    assert statuses == [200] * 5


def only_in_development() -> set[str]:
    """What can be imported here, but not where only `locks/runtime.txt` is installed."""
    kept, here = locked("runtime"), locked("dev")
    known = {name: {normal(one) for one in found} for name, found in packages_distributions().items()}
    return {name for name, found in known.items() if found <= here and not found & kept}


def locked(lock: str) -> set[str]:
    """Names of the distributions in a lock file."""
    return {
        normal(name) for name in re.findall(r"^([\w.-]+)", (ROOT / "locks" / f"{lock}.txt").read_text(), re.MULTILINE)
    }


def normal(name: str) -> str:
    """A distribution's name as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()
