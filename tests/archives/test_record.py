"""An archive as it is kept, and as it is made of that again."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from service.archives.archive import ImageResult, State
from service.archives.layout import LAYOUT_VERSION, Member
from service.archives.record import (
    Record,
    decode_member,
    decode_result,
    encode_member,
    encode_result,
    extend,
    result_of,
)
from service.images.blobs import Blob
from service.problems import ArchiveGone
from service.reasons import Reason
from tests.support.plans import MOMENT, archive_of, plan_of

WHOLE = Blob("a" * 64, 50, 7, "jpg")
CUT = Blob("b" * 64, 40, 8, "jpg", is_incomplete=True)


def member(name: str, blob: Blob = WHOLE, image_id: str | None = None) -> Member:
    """An image of that id, unless it is a text."""
    return Member(f"{name}.jpg", blob, MOMENT, image_id or name)


def record(**fields: Any) -> Record:
    """Of an archive of two images, the second of which came without its end."""
    plan = plan_of("a", "b")
    members = ((member("a"), 1), (member("b", CUT), 2))
    made = Record("i" * 32, State.BUILDING, LAYOUT_VERSION, plan, (), None, 1.0, None, members)
    return replace(made, **fields)


def test_it_holds_its_whole_images() -> None:
    """One without its end may come whole yet; a report is none."""
    report = Member("_download_report.txt", WHOLE, MOMENT, None)

    assert record().keys == ["a.0"]
    assert record(members=((report, 0),)).keys == []


@pytest.mark.parametrize("blob", [WHOLE, CUT])
def test_a_member_is_read_as_it_was_written(blob: Blob) -> None:
    """With its attempts; its time is in UTC, as a ZIP has it."""
    elsewhere = datetime(2026, 3, 2, 10, tzinfo=timezone(timedelta(hours=1)))
    written = replace(member("a", blob), modified=elsewhere)

    found, attempts = decode_member(encode_member(written, 3))

    assert (found, attempts) == (written, 3)
    assert (found.modified.tzinfo, found.modified.hour) == (UTC, 9)


def test_what_version_0_shared_says_nothing_of_an_end() -> None:
    """It is whole then, as one that says so is."""
    values = encode_member(member("a"), 1)

    assert not decode_member(values[:-1])[0].blob.is_incomplete
    assert not decode_member(values)[0].blob.is_incomplete


def test_a_result_is_written_without_what_is_as_usual() -> None:
    """But with all that version 1.0.0 reads."""
    result = ImageResult("a", "a.jpg", "a.jpg", 50, 7, None, 1, key="a.0", order=1)

    line = encode_result(result)

    assert set(line) == {"image_id", "original_name", "name", "bytes", "crc", "code", "attempts", "key", "order"}
    assert decode_result(line) == result
    assert decode_result(encode_result(replace(result, code=Reason.TIMEOUT))).code is Reason.TIMEOUT


def test_an_archive_grows_by_what_it_does_not_have() -> None:
    """And no member twice."""
    archive = archive_of(record().plan)
    archive.append(member("a"), ImageResult("a", "a.jpg"))

    extend(archive, record())
    extend(archive, record())

    assert [one.name for one in archive.members] == ["a.jpg", "b.jpg"]
    assert [(result.image_id, result.attempts, result.code) for result in archive.results] == [
        ("a", 0, None),
        ("b", 2, Reason.INCOMPLETE),
    ]
    assert not archive.is_settled


@pytest.mark.parametrize("has_fewer", [False, True])
def test_an_archive_that_became_another_one_elsewhere_grows_no_more(has_fewer: bool) -> None:
    """Its bytes would be those of neither."""
    archive = archive_of(record().plan)
    archive.append(member("a"))
    archive.append(member("c"))

    with pytest.raises(ArchiveGone):
        extend(archive, record(members=record().members[:1] if has_fewer else record().members))

    assert [one.name for one in archive.members] == ["a.jpg", "c.jpg"]


@pytest.mark.parametrize("state", [State.COMPLETE, State.PARTIAL])
def test_a_settled_one_is_settled_with_its_report(state: State) -> None:
    """To the same bytes, comment included."""
    results = (ImageResult("b", "b.jpg", code=Reason.TIMEOUT), ImageResult("a", "a.jpg"))
    archives = [archive_of(record().plan) for _ in range(2)]
    for archive, comment in zip(archives, ("a comment", None), strict=True):
        extend(archive, record(state=state, results=results, comment=comment))

    assert [archive.state for archive in archives] == [state, state]
    assert archives[0].results == list(results)
    assert archives[0].length - archives[1].length == len("a comment")


def test_a_result_says_what_the_archive_holds() -> None:
    """Of which order and rendition, and where in the store; version 0 has named blobs otherwise."""
    planned = replace(record().plan.images[0], rendition="web", order=1)

    found = result_of(planned, member("a"), 3)
    old = result_of(planned, member("a", replace(WHOLE, digest="d" * 32)), 3)

    assert found == ImageResult(
        "a", "a.jpg", "a.jpg", 50, 7, None, 3, rendition="web", blake3="a" * 64, key="a.0", order=1
    )
    assert old == replace(found, blake3=None)


def test_who_follows_an_archive_to_its_end_is_told_of_its_images_in_the_sequence_in_which_they_came() -> None:
    """With what is known of each in the end."""
    archive = archive_of(plan_of("a", "b"))
    archive.append(member("b"), ImageResult("b", "b.jpg", "b.jpg"))
    archive.append(member("a"), ImageResult("a", "a.jpg", "a.jpg"))
    results = tuple(ImageResult(name, f"{name}.jpg", f"{name}.jpg", attempts=9) for name in "ab")

    members = tuple((one, 9) for one in archive.members)
    extend(archive, record(state=State.COMPLETE, results=results, members=members))

    assert archive.arrived == [results[1], results[0]]
