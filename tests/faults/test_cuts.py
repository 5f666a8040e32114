"""Nobody takes a failed archive for a whole one. The full form runs with the soak."""

from pathlib import Path

from tests.faults.cuts import DIRECT, OLD_PROXY, PROXY, notice_cuts
from tests.support.tools import require_tool


async def test_every_client_notices_a_cut(tmp_path: Path) -> None:
    """curl, aiohttp and HTTP/1.0, directly and through nginx that speaks HTTP/1.0 or 1.1 to the service."""
    require_tool("curl")
    require_tool("nginx")

    versions = {DIRECT: ["--http1.0"], OLD_PROXY: ["--http1.1"], PROXY: ["--http1.1"]}

    (await notice_cuts(tmp_path, rounds=1, versions=versions)).verify()
