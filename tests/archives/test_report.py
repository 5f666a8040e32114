"""The report in an archive: what is missing, and why, one fact a line."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.archives import report
from service.archives.archive import ImageResult
from service.archives.options import Options
from service.archives.plan import Plan, PlannedOrder
from service.archives.report import comment, texts_of
from service.problems import OrderEmpty
from service.reasons import Reason
from service.text import is_printable
from tests.support.plans import plan_of

ORDER = "6f1c2b52-0d6e-4c1b-9a35-3f7b1f6f0a11"


def plan(unlisted: int = 0) -> Plan:
    """Of the order; its images are not looked at."""
    return plan_of().model_copy(update={"orders": (PlannedOrder(order_id=ORDER, unlisted=unlisted),)})


def report_text(made: Plan, results: Sequence[ImageResult]) -> str:
    """The report that an archive of this plan would hold."""
    return report.report_text(made.orders[0], made.options, results)


def manifest_text(made: Plan, results: Sequence[ImageResult]) -> str:
    """The manifest that an archive of this plan would hold."""
    return report.manifest_text(made.orders[0], made.options, results)


def missing(name: str, image_id: str = "a1", status_reason: str | None = None) -> ImageResult:
    return ImageResult(image_id, name, None, 0, None, Reason.TIMEOUT, 3, status_reason)


def test_each_missing_image_is_named_with_its_reason_and_the_way_to_get_it() -> None:
    """What is here is only counted."""
    here = ImageResult("b2", "bath.jpg", "bath.jpg", 5, 1, None, 1)

    lines = report_text(plan(), [here, missing("kitchen.jpg")]).split("\r\n")

    assert "Images in this archive: 1 of 2" in lines
    assert "Missing: 1" in lines
    assert lines[lines.index("kitchen.jpg") + 1] == "  image id: a1"
    assert f"  reason:   timeout: {Reason.TIMEOUT.advice}" in lines
    assert f"  get it:   GET /v1/orders/{ORDER}/images?image=a1" in lines
    assert "bath.jpg" not in lines


def test_what_ends_too_early_is_in_the_archive() -> None:
    """It is named like a missing one, but not counted as missing."""
    cut = ImageResult("b2", "bath.jpg", "bath.jpg", 5, 1, Reason.INCOMPLETE, 2)

    lines = report_text(plan(), [cut, missing("kitchen.jpg")]).split("\r\n")

    assert lines[3:6] == ["Images in this archive: 1 of 2", "Missing: 1", "Incomplete: 1"]
    assert {"bath.jpg", "kitchen.jpg"} <= set(lines)


def test_images_that_are_not_listed_are_told() -> None:
    """Only where there are some, and beside those that are."""
    assert "Counted by Autoenhance but not listed, or beyond 10,000: 2" in report_text(plan(2), [])
    assert "Images in this archive: 0 of 1" in report_text(plan(2), [missing("a.jpg")])
    assert "not listed" not in report_text(plan(), [])


@given(st.text(), st.text(), st.text())
def test_no_name_id_or_reason_adds_a_line(name: str, image_id: str, status_reason: str) -> None:
    """Whatever line breaks somebody put there, each fact has one line of its own."""
    plain = report_text(plan(), [missing("kitchen.jpg", status_reason="too dark")])

    text = report_text(plan(), [missing(name, image_id, status_reason)])

    assert len(text.splitlines()) == len(plain.splitlines())
    assert all(is_printable(line) for line in text.split("\r\n"))


def test_an_image_without_a_name_is_named_so() -> None:
    """A name of blanks alone is none."""
    assert "(no name)" in report_text(plan(), [missing(" \n ")]).split("\r\n")


def test_the_comment_counts_what_is_in() -> None:
    """Not what was asked for."""
    assert comment([PlannedOrder(order_id=ORDER)], 2, 3) == f"Autoenhance order {ORDER}: 2 of 3 images"


@pytest.mark.parametrize(
    ("options", "rendition", "path"),
    [
        ({}, None, "?image=a1"),
        ({"preview": False, "format": "png", "scale": 0.5}, None, "?image=a1&format=png&preview=false&scale=0.5"),
        ({"rendition": ["mls"]}, None, "?image=a1&preview=false&quality=80&max_width=2048"),
        ({"rendition": ["mls", "web"]}, "mls", "?image=a1&preview=false&quality=80&max_width=2048"),
        ({"rendition": ["mls", "web"]}, "web", "?image=a1&format=webp"),
        ({"rendition": ["print", "web"], "dev_mode": True}, "print", "?image=a1&preview=false&dev_mode=true"),
        ({"include": ("original",)}, "original", "/a1?include=original"),
        ({"include": ("original",), "rendition": ["mls", "web"]}, "original", "/a1?include=original&preview=false"),
        ({"include": ("original",), "dev_mode": True}, "original", "/a1?include=original&dev_mode=true"),
    ],
)
def test_the_way_to_get_a_missing_file_gives_just_what_was_wanted(
    options: dict[str, Any], rendition: str | None, path: str
) -> None:
    """Not a preview in place of the full size; nothing bought that was to be a watermarked test, or for an original."""
    made = plan().model_copy(update={"options": Options(**options)})

    lines = report_text(made, [replace(missing("a.jpg"), rendition=rendition)]).split("\r\n")

    assert f"  get it:   GET /v1/orders/{ORDER}/images{path}" in lines
    assert lines[lines.index("a.jpg") + 2].startswith(f"  as:       {rendition}" if rendition else "  reason:")


def test_an_id_is_written_as_a_url_has_it() -> None:
    """Whatever Autoenhance calls its images."""
    odd = missing("a.jpg", "a&b/c")
    originals = plan().model_copy(update={"options": Options(include=("original",))})

    assert "images?image=a%26b%2Fc\r\n" in report_text(plan(), [odd])
    assert "images/a%26b%2Fc?include=original\r\n" in report_text(originals, [replace(odd, rendition="original")])


def test_texts_are_those_that_are_wanted() -> None:
    """A report where something is missing, a manifest where it was asked for, in one sequence."""
    here = ImageResult("b2", "bath.jpg", "bath.jpg", 5, 1, None, 1)
    listed = plan().model_copy(update={"options": Options(include=("manifest",))})

    assert list(texts_of(plan(), [here])) == []
    assert list(texts_of(plan(), [missing("a.jpg")])) == ["_download_report.txt"]
    assert list(texts_of(listed, [here])) == ["_manifest.json"]
    assert list(texts_of(listed, [missing("a.jpg")])) == ["_download_report.txt", "_manifest.json"]


def test_a_manifest_is_the_same_however_long_and_often_it_was_tried() -> None:
    """So it can be made again, byte for byte."""
    here = ImageResult("b2", "bath.jpg", "bath.jpg", 5, 1, None, 1, key="k.0")
    listed = plan().model_copy(update={"options": Options(include=("manifest",))})

    text = manifest_text(listed, [here])

    waiting = Options(include=("manifest",), wait=True, wait_timeout=5)
    assert text == manifest_text(listed, [replace(here, attempts=3)])
    assert text == manifest_text(listed.model_copy(update={"options": waiting}), [here])
    assert json.loads(text)["files"] == [
        {
            "image_id": "b2",
            "original_name": "bath.jpg",
            "name": "bath.jpg",
            "bytes": 5,
            "crc": 1,
            "code": None,
            "rendition": None,
            "blake3": None,
            "outcome": "downloaded",
        }
    ]


def test_each_order_has_texts_in_its_folder() -> None:
    """Named as within it; one that failed has a report that says why, on one line, and no manifest."""
    orders = (
        PlannedOrder(order_id="1", name="Mill Road", folder="Mill Road"),
        PlannedOrder(order_id="2", folder="order-2"),
        PlannedOrder(order_id="3", folder="order-3", code="order_empty", reason="This order\nhas no images."),
    )
    several = plan().model_copy(update={"orders": orders, "options": Options(include=("manifest",))})
    here = ImageResult("b2", "bath.jpg", "Mill Road/print/bath.jpg", 5, 1, None, 1)

    texts = texts_of(several, [here, replace(missing("a.jpg"), order=1)])

    assert list(texts) == [
        *("Mill Road/_manifest.json", "order-2/_download_report.txt", "order-2/_manifest.json"),
        "order-3/_download_report.txt",
    ]
    manifest = json.loads(texts["Mill Road/_manifest.json"])
    assert (manifest["order_id"], manifest["name"]) == ("1", "Mill Road")
    assert [file["name"] for file in manifest["files"]] == ["print/bath.jpg"]
    assert "GET /v1/orders/2/images?image=a1" in texts["order-2/_download_report.txt"].decode()
    lines = texts["order-3/_download_report.txt"].decode().splitlines()
    assert lines[2:] == [
        "Order: 3",
        "Nothing of it could be downloaded.",
        "Reason: order_empty: This order has no images.",
    ]


def test_the_comment_names_all_orders() -> None:
    """With the count of all."""
    orders = [PlannedOrder(order_id="1"), PlannedOrder(order_id="2")]
    assert comment(orders, 2, 3) == "Autoenhance orders 1, 2: 2 of 3 images"


def test_the_comment_counts_the_orders_of_which_there_is_nothing() -> None:
    """It is the first thing that unzip prints."""
    orders = [PlannedOrder(order_id="1"), PlannedOrder.failed("2", None, OrderEmpty())]
    assert comment(orders, 3, 3) == "Autoenhance order 1: 3 of 3 images; 1 of 2 orders"
