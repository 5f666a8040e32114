"""The service is what its OpenAPI document says. The full form runs with the soak."""

from pathlib import Path

import pytest

from tests.fuzz.document import fuzz_document


@pytest.mark.timeout(300)  # half a minute by itself; it shares two processors with others
async def test_the_service_is_what_its_document_says(tmp_path: Path) -> None:
    """Every answer is a described one, in status, type, headers and shape; none is a 500, and nothing is unhandled."""
    run = await fuzz_document(tmp_path, examples=2)

    assert run.code == 0, run.report[-6000:]
    assert run.statuses.total() > 300
    assert run.statuses[500] == 0
    assert run.tracebacks == []
