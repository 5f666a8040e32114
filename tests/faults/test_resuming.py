"""A download that broke is finished, wherever it was cut. The full form runs with the soak."""

from pathlib import Path

from tests.faults.resuming import join_parts, resume_with_curl
from tests.support.tools import require_tool


async def test_parts_of_a_download_join_wherever_it_was_cut(tmp_path: Path) -> None:
    """Sixty downloads, cut at random bytes, as browsers and as range clients go on with them."""
    findings = await join_parts(tmp_path, downloads=60, seed=2)

    findings.verify()


async def test_curl_goes_on_with_a_broken_download(tmp_path: Path) -> None:
    """`curl -C -` with the archive's address finishes a whole archive, a running build, and one after a restart."""
    require_tool("curl")

    findings = await resume_with_curl(tmp_path, rounds=1, seed=2)

    findings.verify()
