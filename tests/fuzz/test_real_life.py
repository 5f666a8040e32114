"""What users, odd upstreams and download managers do, at random. The full form runs with the soak."""

from pathlib import Path

import pytest

from tests.faults.findings import Findings
from tests.fuzz.real_life import KINDS, fuzz_kind


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_right_holds_whatever_comes(tmp_path: Path, kind: str) -> None:
    """Two rounds of each kind, judged by a model of what is right."""
    findings = Findings()

    await fuzz_kind(findings, tmp_path, KINDS[kind], seconds=0, seed=1)

    findings.verify()
