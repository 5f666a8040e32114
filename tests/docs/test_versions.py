"""The page on versions names the paths that are deprecated."""

import re

from service.api.routes import ROUTES
from tests.support.doc_blocks import ROOT


def test_every_deprecated_path_is_listed_beside_its_successor() -> None:
    """And no other."""
    text = (ROOT / "service" / "docs" / "versions.md").read_text()
    rows = [re.findall(r"`(/[^`]+)`", line) for line in text.splitlines() if line.startswith("| `/")]

    listed = {pair for row in rows for pair in zip(row[: len(row) // 2], row[len(row) // 2 :], strict=True)}

    assert listed == {(route.canonical, route.successor) for route in ROUTES if route.successor}
