"""Arrows between the layers of the service point down only."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVICE = Path(__file__).parent.parent / "service"
# From the bottom up: a layer may see those of the lines below its own, and what its own line lets it. With a dot:
# that module only.
WORDS = {"hosts", "order_ids", "text", "wrong_values"}
PLAIN = {"computing", "disk", "problems", "reasons", "settings", "signal", "single_flight"}
BASE = {"__version__", "background", "data_dir", "database", "telemetry"} | PLAIN | WORDS
MAY_SEE: dict[str, set[str]] = {
    **{
        layer: set()
        for layer in {"__init__", "computing", "signal", "single_flight", "disk", "reasons", "problems"} | WORDS
    },
    "wrong_values": {"text"},
    "settings": {"hosts", "wrong_values"},
    "startup": {"__version__", "hosts", "settings"},
    "telemetry": {"__version__", "hosts", "problems", "reasons", "settings", "text"},
    "background": {"telemetry"},
    "data_dir": {"disk"},
    "database": {"data_dir", "disk", "telemetry"},
    "samples": set(),
    "docs": {"problems", "reasons", "settings"},
    "upstream": {"__version__", "computing", "problems", "reasons", "settings", "signal", "telemetry"} | WORDS,
    "images": BASE | {"upstream"},
    "orders": BASE | {"images.identity", "upstream"},
    "archives": BASE | {"images", "orders", "upstream"},
    "jobs": BASE | {"archives", "images", "orders", "upstream"},
    "assistant": BASE | {"docs"},
    "api": BASE | {"archives", "assistant", "docs", "images", "jobs", "orders", "samples", "upstream"},
    "cluster": BASE | {"api", "archives", "images", "jobs", "orders", "upstream"},
    "app": BASE | {"api", "archives", "assistant", "cluster", "images", "jobs", "orders", "upstream"},
    "sandbox": {"samples", "text"},
    "commands": BASE | {"api", "app", "archives", "docs", "samples", "sandbox", "startup", "upstream"},
    "__main__": BASE | {"commands", "sandbox", "upstream"},
}
LAYERS = sorted({path.relative_to(SERVICE).with_suffix("").parts[0] for path in SERVICE.rglob("*.py")})


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_sees_only_those_below_it(layer: str) -> None:
    """Also in imports within functions. A new layer has to find its place here."""
    paths = [SERVICE / f"{layer}.py"] if (SERVICE / f"{layer}.py").exists() else list((SERVICE / layer).rglob("*.py"))
    assert paths

    seen = {(str(path.relative_to(SERVICE)), other) for path in paths for other in imported(path)}

    assert {(path, other) for path, other in seen if not may_see(layer, other)} == set()


def may_see(layer: str, module: str) -> bool:
    """Whether a layer may import from this module (`images.store`)."""
    allowed = MAY_SEE[layer]
    return module.split(".")[0] in allowed | {layer} or module in allowed


def imported(path: Path) -> Iterator[str]:
    """Modules of the service that a file imports from, without the service's own name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.removeprefix("service.") for name in node.names if name.name.startswith("service."))
        elif isinstance(node, ast.ImportFrom) and node.module == "service":
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("service."):
            module = str(node.module).removeprefix("service.")
            names = [f"{module}.{name.name}" for name in node.names]
            # `from service.images import identity` is that module; `from service.images.identity import digest` too.
            yield from (name if is_module(name) else module for name in names)


def is_module(name: str) -> bool:
    return (SERVICE / name.replace(".", "/")).with_suffix(".py").exists()


def test_imports_are_read_in_every_form(tmp_path: Path) -> None:
    """A check over nothing would hold for ever."""
    file = tmp_path / "file.py"
    file.write_text(
        "import service.images.store\nfrom service import app\nfrom service.images import identity\n"
        "def f():\n    from service.images.blobs import Blob, BlobLost\n"
    )

    assert set(imported(file)) == {"images.store", "app", "images.identity", "images.blobs"}
    assert may_see("orders", "images.identity")
    assert not may_see("orders", "images.store")
    assert not may_see("archives", "cluster.images")


def test_every_layer_has_its_place() -> None:
    """And none that is gone keeps one."""
    assert set(LAYERS) == set(MAY_SEE)
