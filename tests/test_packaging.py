"""What is installed is what is in the repository, and enough to serve."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
from aiohttp import ClientSession

from service import __version__
from service.samples import PHOTOS
from tests.support.process import ServiceProcess

ROOT = Path(__file__).parent.parent
FREE = re.compile(r"MIT|BSD|Apache|PSF|Python Software Foundation|ISC|MPL|Mozilla|LGPL|CC0|Unlicense|0BSD")


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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip wheel` makes of a copy of the repository, and that unpacked; no source is there any more."""
    folder = tmp_path_factory.mktemp("wheel")
    _build_wheel(folder / "source", folder / "site")
    return folder / "site"


def test_the_wheel_is_whole_small_and_of_this_version(site: Path) -> None:
    """Below a megabyte, apart from the sample photos and the reference's own files (Swagger UI)."""
    (wheel,) = site.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        sizes = {member.filename: member.compress_size for member in archive.infolist()}
    ours = {
        name: size for name, size in sizes.items() if not name.startswith(("service/samples/", "service/web/vendor/"))
    }

    assert len(sizes) - len(ours) > len(list(PHOTOS.glob("*.jpg")))
    assert sum(ours.values()) < 1_000_000
    assert wheel.name.startswith(f"autoenhance_batch-{__version__}-")
    entry = next(site.glob("autoenhance_batch-*.dist-info/entry_points.txt")).read_text()
    assert "autoenhance-batch = service.__main__:main" in entry
    assert len(list((site / "service" / "samples").glob("*.jpg"))) == len(list(PHOTOS.glob("*.jpg")))


async def test_the_wheel_serves_without_the_source(site: Path, tmp_path: Path) -> None:
    """Given the unpacked wheel alone, it starts and is whole."""
    async with (
        ServiceProcess(tmp_path / "data", PYTHONPATH=str(site)) as service,
        ClientSession() as session,
    ):
        statuses = []
        for path in ("/readyz", "/", "/docs", "/docs/guide/quick-start", "/openapi.json", "/metrics", "/version"):
            async with session.get(service.url + path) as response:
                statuses.append(response.status)

    assert statuses == [200] * 7


def _build_wheel(source: Path, site: Path) -> None:
    """Copy the source, make a wheel of it without any index, unpack that, and remove the copy."""
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "service", source / "service", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(site), str(source)], check=True, capture_output=True, timeout=100)
    (wheel,) = site.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    shutil.rmtree(source)


def test_what_it_is_made_of_may_be_used_freely() -> None:
    """Each library that is installed with the service has a licence that is known here."""
    found = {name: licence_of(name) for name in sorted(locked("runtime")) if is_installed(name)}

    assert len(found) > 30
    assert {name: licence for name, licence in found.items() if not FREE.search(licence)} == {}
    assert {name for name, licence in found.items() if "LGPL" in licence} == {"zipstream-ng"}
    assert not any(re.search(r"(?<!L)GPL|AGPL", licence) for licence in found.values())


def is_installed(name: str) -> bool:
    """Whether it is here: some are for other systems."""
    try:
        return bool(distribution(name))
    except PackageNotFoundError:
        return False


def licence_of(name: str) -> str:
    """As the library's own metadata have it."""
    facts = distribution(name).metadata
    classifiers = [value.rpartition(" :: ")[2] for value in facts.get_all("Classifier", []) if "License" in value]
    named = [value[:100] for field in ("License-Expression", "License") for value in facts.get_all(field, [])]
    return " / ".join([*named, *classifiers])


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
