"""The report in an archive: what is missing, and why, one fact a line."""

from hypothesis import given
from hypothesis import strategies as st

from service.archives.archive import ImageResult
from service.archives.report import comment, report_text
from service.reasons import Reason

ORDER = "6f1c2b52-0d6e-4c1b-9a35-3f7b1f6f0a11"


def missing(name: str, image_id: str = "a1", status_reason: str | None = None) -> ImageResult:
    return ImageResult(image_id, name, None, 0, None, Reason.TIMEOUT, 3, status_reason)


def test_each_missing_image_is_named_with_its_reason_and_the_way_to_get_it() -> None:
    """What is here is only counted."""
    here = ImageResult("b2", "bath.jpg", "bath.jpg", 5, 1, None, 1)

    lines = report_text(ORDER, [here, missing("kitchen.jpg")]).split("\r\n")

    assert "Images in this archive: 1 of 2" in lines
    assert "Missing: 1" in lines
    assert lines[lines.index("kitchen.jpg") + 1] == "  image id: a1"
    assert f"  reason:   timeout: {Reason.TIMEOUT.advice}" in lines
    assert f"  get it:   GET /v1/orders/{ORDER}/images?image=a1" in lines
    assert "bath.jpg" not in lines


def test_images_that_are_not_listed_are_told() -> None:
    """Only where there are some."""
    assert "Counted by Autoenhance but not listed: 2" in report_text(ORDER, [], 2)
    assert "not listed" not in report_text(ORDER, [])


@given(st.text(), st.text(), st.text())
def test_no_name_id_or_reason_adds_a_line(name: str, image_id: str, status_reason: str) -> None:
    """Whatever line breaks somebody put there, each fact has one line of its own."""
    plain = report_text(ORDER, [missing("kitchen.jpg", status_reason="too dark")])

    text = report_text(ORDER, [missing(name, image_id, status_reason)])

    assert len(text.splitlines()) == len(plain.splitlines())
    assert all(line.isprintable() for line in text.split("\r\n"))


def test_an_image_without_a_name_is_named_so() -> None:
    """A name of blanks alone is none."""
    assert "(no name)" in report_text(ORDER, [missing(" \n ")]).split("\r\n")


def test_the_comment_counts_what_is_in() -> None:
    """Not what was asked for."""
    assert comment(ORDER, 2, 3) == f"Autoenhance order {ORDER}: 2 of 3 images"
