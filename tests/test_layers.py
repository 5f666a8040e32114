"""Arrows between the rooms of the service point down only."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVICE = Path(__file__).parent.parent / "service"
# From the bottom up: a room may see those of the lines below its own, and what its own line lets it.
WORDS = {"hosts", "text", "wrong_values"}
SHARED = {"settings", "problems", "reasons", "disk", "single_flight"}
BASE = {"__version__", "telemetry", "background", "database"} | SHARED | WORDS
MAY_SEE: dict[str, set[str]] = {
    **{room: set() for room in {"__init__"} | WORDS},
    **dict.fromkeys(SHARED, WORDS),
    "telemetry": {"__version__", "settings", "problems", "reasons"},
    "background": {"telemetry"},
    "database": {"disk", "telemetry"},
    "startup": {"__version__", "settings", "addresses"},
    "samples": set(),
    "docs": {"settings", "problems", "reasons"},
    "upstream": BASE,
    "images": BASE | {"upstream"},
    "archives": BASE | {"upstream", "images"},
    "jobs": BASE | {"upstream", "images", "archives"},
    "cluster": BASE | {"upstream", "images", "archives", "jobs"},
    "assistant": BASE | {"docs"},
    "api": BASE | {"upstream", "images", "archives", "jobs", "assistant", "docs", "samples"},
    "sharing": BASE | {"upstream", "images", "archives", "jobs", "cluster", "api"},
    "app": BASE | {"upstream", "images", "archives", "jobs", "assistant", "api", "sharing"},
    "sandbox": {"samples"},
    "commands": BASE | {"startup", "upstream", "images", "archives", "jobs", "api", "app", "samples", "sandbox"},
    "__main__": BASE | {"upstream", "commands"},
}
ROOMS = sorted({path.relative_to(SERVICE).with_suffix("").parts[0] for path in SERVICE.rglob("*.py")})


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_sees_only_those_below_it(room: str) -> None:
    """Also in imports within functions. A new room has to find its place here."""
    paths = [SERVICE / f"{room}.py"] if (SERVICE / f"{room}.py").exists() else (SERVICE / room).rglob("*.py")

    seen = {(str(path.relative_to(SERVICE)), other) for path in paths for other in imported(path)}

    assert {(path, other) for path, other in seen if other not in MAY_SEE[room] | {room}} == set()


def imported(path: Path) -> Iterator[str]:
    """Rooms that a file imports from."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[1] for name in node.names if name.name.startswith("service."))
        elif isinstance(node, ast.ImportFrom) and node.module == "service":
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("service."):
            yield str(node.module).split(".")[1]
