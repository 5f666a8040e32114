"""What the progress of a download says."""

import io
import zipfile

import pytest
from rich.console import Console

from service.archives.names import REPORT_NAME
from service.commands.display import Display


@pytest.mark.parametrize(("total", "said"), [(2, "image 2 of 2"), (None, "image 3")])
def test_a_report_is_no_image(total: int | None, said: str) -> None:
    """It comes behind them, where their number is known."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        for name in ("a.jpg", "b.jpg", REPORT_NAME):
            writer.writestr(name, b"content")
    console = Console(file=io.StringIO(), force_terminal=True, width=100)

    with Display(console) as display:
        display.expect(total, None)
        display.feed(archive.getvalue())

    output = console.file.getvalue()  # type: ignore[attr-defined]  # as it was made
    assert said in output
    assert "image 3 of" not in output
