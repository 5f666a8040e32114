"""Upstream's records in all the shapes they come in."""

import json
import tracemalloc
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.sandbox.documents import DEFAULT_SETTINGS, ECHOED
from service.upstream import json_stream, order_document
from service.upstream.json_stream import InvalidDocument
from service.upstream.models import ENHANCEMENT_SETTINGS, MAX_IMAGES, ImageRecord, ImageState, Order
from service.upstream.order_document import MAX_DOCUMENT_BYTES, parse_order, read_order

MOMENT = datetime(2026, 3, 2, 9, 15, 4, tzinfo=UTC)
EPOCH = 1_772_442_904


FIELDS = [
    "image_id", "id", "image_name", "name", "status", "enhanced", "error", "date_added", "images", "order_id",
    "is_processing", "is_merging", "is_deleted", "created_at", "total_images", "model_config", "state", "__dict__",
]  # fmt: skip


def one_image(**fields: Any) -> ImageRecord:
    (image,) = parse_order({"images": [fields]}).images
    return image


class TestOrder:
    def test_a_document_of_today_is_read(self) -> None:
        """Every field that matters here arrives."""
        document = {
            "order_id": "o-1",
            "name": "12 Harbour Lane",
            "status": "processing",
            "is_processing": True,
            "is_merging": False,
            "is_deleted": False,
            "total_images": 2,
            "created_at": "2026-03-02T09:15:04.120931",
            "images": [{"image_id": "a", "image_name": "kitchen.jpg"}, {"image_id": "b", "image_name": "DSC_0042"}],
        }

        order = parse_order(document)

        assert (order.order_id, order.name, order.status) == ("o-1", "12 Harbour Lane", "processing")
        assert (order.is_processing, order.is_merging, order.is_deleted) == (True, False, False)
        assert order.created_at == MOMENT.replace(microsecond=120931)
        assert [(image.image_id, image.image_name) for image in order.images] == [
            ("a", "kitchen.jpg"),
            ("b", "DSC_0042"),
        ]

    def test_an_empty_document_is_an_order_without_anything(self) -> None:
        """No field is required of an answer."""
        order = parse_order({})

        assert order == Order()
        assert (order.order_id, order.name, order.images, order.created_at) == (None, None, (), None)

    def test_null_is_as_good_as_absent(self) -> None:
        """An order and an image whose every field is null read like empty ones."""
        nulls = dict.fromkeys(["order_id", "name", "status", "is_processing", "is_merging", "is_deleted", "created_at"])
        image_nulls = dict.fromkeys(["image_id", "image_name", "status", "enhanced", "error", "date_added"])

        order = parse_order(nulls | {"images": [image_nulls], "total_images": None})

        assert replace(order, images=()) == Order()
        assert order.images == parse_order({"images": [{}]}).images
        assert replace(order.images[0], legacy_fingerprint="") == ImageRecord()
        assert parse_order({"images": None}) == Order()

    @pytest.mark.parametrize(
        ("total", "read"),
        [
            (0, 0), (2, 2), (2.0, 2), ("2", 2), (" 2.0 ", 2), (500, 500), (7.5, None), (-1, None), (True, None),
            (None, None), ([], None), ("many", None), (float("nan"), None), (float("inf"), None), (1e300, None),
            (10**30, None),
        ],
        ids=repr,
    )  # fmt: skip
    def test_the_announced_number_of_images(self, total: object, read: int | None) -> None:
        """`total_images` may be a float or a text; the list itself is what counts."""
        order = parse_order({"images": [{"image_id": "a"}], "total_images": total})

        assert order.total_images == read
        assert len(order.images) == order.image_count == 1

    @pytest.mark.parametrize(
        ("total", "ids", "unlisted"),
        [(500, "ab", 498), (2, "ab", 0), (None, "ab", 0), (1, "ab", 0), (3, "aab", 0), (4, "aab", 1), (0, "", 0)],
    )
    def test_what_is_counted_and_not_listed(self, total: int | None, ids: str, unlisted: int) -> None:
        """An image listed twice may have been counted twice, too."""
        order = parse_order({"images": [{"image_id": image_id} for image_id in ids], "total_images": total})

        assert order.unlisted == unlisted

    @pytest.mark.parametrize("document", [None, [], "order", 7, True, {"images": "many"}, {"images": {}}], ids=repr)
    def test_what_is_no_order_is_refused(self, document: object) -> None:
        """Anything but an object with a list."""
        with pytest.raises(InvalidDocument):
            parse_order(document)

    @pytest.mark.parametrize("entry", [None, ["a"], "a", 7, True, []], ids=repr)
    def test_an_entry_that_is_no_record_is_a_failed_image(self, entry: object) -> None:
        """It is kept, since it has to be reported; the others are not touched."""
        order = parse_order({"images": [{"image_id": "a", "status": "processed"}, entry, entry, {"image_id": "b"}]})

        assert [image.image_id for image in order.images] == ["a", None, None, "b"]
        assert [image.is_readable for image in order.images] == [True, False, False, True]
        assert [image.state for image in order.images[:3]] == [ImageState.READY, ImageState.FAILED, ImageState.FAILED]

    def test_an_image_listed_twice_counts_once(self) -> None:
        """The first record stays, whichever name its id has."""
        records = [
            {"image_id": "a", "image_name": "first"},
            {"image_id": "b"},
            {"image_id": "a", "image_name": "second"},
            {"id": "a"},
            {"image_id": " a "},
        ]

        order = parse_order({"images": records})

        assert [(image.image_id, image.image_name) for image in order.images] == [("a", "first"), ("b", None)]

    def test_images_without_an_id_are_all_kept(self) -> None:
        """They cannot be fetched, so they have to be reported."""
        order = parse_order({"images": [{"image_name": "x"}, {"image_id": None}, {"image_id": ""}, {"image_id": {}}]})

        assert [image.image_id for image in order.images] == [None] * 4

    @pytest.mark.parametrize(
        ("fields", "states", "final", "grows"),
        [
            ({}, [], False, False),
            ({}, ["processed"], True, False),
            ({}, ["processed", "error", "expired"], True, False),
            ({}, ["processed", "processing"], False, False),
            ({}, ["processed", "waiting"], False, False),
            ({}, ["processed", "a word of tomorrow"], False, False),
            ({"is_processing": True}, ["processed"], True, False),
            ({"is_processing": True, "total_images": 1}, ["processed"], True, False),
            ({"is_processing": True, "total_images": 2}, ["processed"], False, True),
            ({"total_images": 2}, ["processed"], True, False),
            ({"is_processing": True}, [], False, True),
            ({"is_merging": True}, [], False, True),
            ({"is_merging": True}, ["processed"], False, True),
        ],
    )
    def test_when_an_order_is_final(self, fields: dict[str, Any], states: list[str], final: bool, grows: bool) -> None:
        """Final means that no image changes and none appears by itself; only a growing order gets more."""
        order = parse_order(fields | {"images": [{"image_id": str(i), "status": s} for i, s in enumerate(states)]})

        assert (order.is_final, order.may_grow) == (final, grows)


class TestImage:
    @pytest.mark.parametrize(
        ("fields", "image_id", "name"),
        [
            ({"image_id": "a", "image_name": "x.jpg"}, "a", "x.jpg"),
            ({"id": "a", "name": "x.jpg"}, "a", "x.jpg"),
            ({"image_id": "a", "id": "b", "image_name": "x", "name": "y"}, "a", "x"),
            ({"image_id": 17, "image_name": 4.5}, "17", "4.5"),
            ({"image_id": " a ", "image_name": "  "}, "a", None),
            ({"image_id": True, "image_name": ["x"]}, None, None),
            ({}, None, None),
        ],
        ids=str,
    )
    def test_ids_and_names_by_either_name(self, fields: dict[str, Any], image_id: str | None, name: str | None) -> None:
        """`image_id` and `image_name` come first; `id` and `name` will do."""
        image = one_image(**fields)

        assert (image.image_id, image.image_name) == (image_id, name)

    def test_a_null_under_one_name_leaves_the_other_in_force(self) -> None:
        """Null is as good as absent, also where a field has two names."""
        image = one_image(image_id=None, id="a", image_name=None, name="x.jpg")

        assert (image.image_id, image.image_name) == ("a", "x.jpg")

    @pytest.mark.parametrize("nothing", ["", "  ", [], True], ids=repr)
    def test_what_says_nothing_under_one_name_leaves_the_other_in_force(self, nothing: object) -> None:
        """An image with an id is not reported as one without."""
        image = one_image(image_id=nothing, id="a", image_name=nothing, name="x.jpg")

        assert (image.image_id, image.image_name) == ("a", "x.jpg")

    def test_ids_that_no_address_can_hold_are_none_each(self) -> None:
        """Cleaned they would be equal, and one image would be lost without a word."""
        order = parse_order({"images": [{"image_id": "a\ud800"}, {"image_id": "a\ud801", "image_name": "x\udfff.jpg"}]})

        assert [(image.image_id, image.image_name) for image in order.images] == [(None, None), (None, "x\ufffd.jpg")]

    @pytest.mark.parametrize("field", ["image_id", "image_name", "status", "status_reason", "version"])
    def test_no_text_is_long(self, field: str) -> None:
        """Megabytes in a record are cut when it is read, and an id of such length is none."""
        value = getattr(one_image(**{field: "é" * 4_000_000}), field)

        assert (value is None) if field == "image_id" else (0 < len(value) <= 1_000)
        assert len(parse_order({"name": "x" * 4_000_000}).name or "") == 1_000

    @pytest.mark.parametrize(
        ("reason", "read"),
        [
            ("Daily limit reached", "Daily limit reached"),
            ("  two\n\tlines\x1b[31m ", "two lines [31m"),
            ("\u202eturned\u200b", "turned"),
            ("half \ud800", "half \ufffd"),
            ("a" * 300, "a" * 200),
            (17, "17"),
            ("", None),
            (" \n", None),
            (None, None),
            ({"message": "x"}, None),
            (True, None),
        ],
        ids=lambda value: ascii(value)[:20],
    )
    def test_a_reason_is_one_printable_line(self, reason: object, read: str | None) -> None:
        """It reaches the image's owner: in documents, reports and terminals."""
        assert one_image(status_reason=reason).status_reason == read

    def test_a_derived_image_names_its_parent(self) -> None:
        """Null in all others."""
        assert one_image(parent_image_id="p").parent_image_id == "p"
        assert one_image(parent_image_id=None).parent_image_id is None

    @pytest.mark.parametrize(
        ("value", "moment"),
        [
            (EPOCH, MOMENT),
            (EPOCH * 1000, MOMENT),
            (float(EPOCH), MOMENT),
            (str(EPOCH), MOMENT),
            (f"{EPOCH}000", MOMENT),
            (99_999_999_999, datetime(5138, 11, 16, 9, 46, 39, tzinfo=UTC)),
            (100_000_000_000, datetime(5138, 11, 16, 9, 46, 40, tzinfo=UTC)),
            (100_000_000_001, datetime(1973, 3, 3, 9, 46, 40, 1000, tzinfo=UTC)),
            (EPOCH * 10**6, MOMENT),
            (EPOCH * 10**9, MOMENT),
            (str(EPOCH * 10**6), MOMENT),
            (f" {EPOCH * 10**9}\n", MOMENT),
            (EPOCH * 10**12, None),
            (f"{EPOCH}.5", MOMENT.replace(microsecond=500_000)),
            (-1, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
            (-1_500_000_000_000, datetime(1922, 6, 20, 21, 20, tzinfo=UTC)),
            (0, datetime(1970, 1, 1, tzinfo=UTC)),
            ("2026-03-02T09:15:04", MOMENT),
            ("2026-03-02T09:15:04.120931", MOMENT.replace(microsecond=120931)),
            ("2026-03-02T09:15:04Z", MOMENT),
            ("2026-03-02T11:15:04+02:00", MOMENT),
            ("2026-03-02", datetime(2026, 3, 2, tzinfo=UTC)),
            ("2026-03-02 09:15:04 UTC", MOMENT),
            ("2026-03-02T09:15:04.120931 utc", MOMENT.replace(microsecond=120931)),
            ("2026-03-02 09:15:04 GMT", MOMENT),
            ("2026-03-02T09:15:04z", MOMENT),
            ("2026-03-02 11:15:04 +0200", MOMENT),
            ("2026-03-02T09:15:04.120931999Z", MOMENT.replace(microsecond=120931)),
            ("  2026-03-02T09:15:04\t", MOMENT),
            ("Mon, 02 Mar 2026 09:15:04 GMT", MOMENT),
            ("Mon, 2 Mar 2026 11:15:04 +0200", MOMENT),
            ("2 Mar 2026 09:15:04 -0000", MOMENT),
            ("Monday, 02-Mar-26 09:15:04 GMT", MOMENT),
            ("Mon Mar  2 09:15:04 2026", MOMENT),
            ("Mon, 32 Mar 2026 09:15:04 GMT", None),
            ("Mon, 02 Mar 2026 09:15:04 +9999", None),
            ("9" * 1_000_000, None),
            ("Mon, " * 200_000, None),
            ("0001-01-01T00:00:00+14:00", None),
            ("yesterday", None),
            ("", None),
            ("1.2.3", None),
            (None, None),
            (True, None),
            ([EPOCH], None),
            (1e300, None),
            (float("inf"), None),
            (float("nan"), None),
            (10**400, None),
        ],
        ids=lambda value: str(value)[:30],
    )
    def test_dates_in_every_form(self, value: object, moment: datetime | None) -> None:
        """Epochs in any unit (over 10^11 the next smaller one), ISO and mail dates, zone or not; nonsense is none."""
        assert one_image(date_added=value).date_added == moment
        assert parse_order({"created_at": value}).created_at == moment

    @pytest.mark.parametrize(
        ("value", "flag"),
        [
            (True, True), (False, False), (1, True), (0, False), ("true", True), ("false", False), ("False", False),
            ("0", False), ("no", False), ("none", False), ("null", False), (" ", False), ("", False), (None, False),
            ("the sky could not be replaced", True), ({}, False), ({"code": 1}, True), ([], False),
        ],
        ids=repr,
    )  # fmt: skip
    def test_flags_in_every_form(self, value: object, flag: bool) -> None:
        """A boolean, a number, a word, or the text of an error."""
        image = one_image(enhanced=value, error=value)

        assert (image.enhanced, image.error) == (flag, flag)

    @pytest.mark.parametrize(
        ("status", "enhanced", "error", "state"),
        [
            ("processed", False, False, ImageState.READY),
            ("PROCESSED", False, False, ImageState.READY),
            (" processed ", False, False, ImageState.READY),
            ("processed", True, False, ImageState.READY),
            ("processed", False, True, ImageState.FAILED),
            ("processed", True, True, ImageState.FAILED),
            ("error", False, False, ImageState.FAILED),
            ("error", True, False, ImageState.FAILED),
            ("failed", False, False, ImageState.FAILED),
            ("expired", False, False, ImageState.EXPIRED),
            ("expired", True, False, ImageState.EXPIRED),
            ("expired", False, True, ImageState.EXPIRED),
            ("waiting", False, False, ImageState.WAITING),
            ("waiting", True, False, ImageState.READY),
            ("waiting", False, True, ImageState.FAILED),
            ("processing", False, False, ImageState.PROCESSING),
            ("processing", False, True, ImageState.FAILED),
            ("processing", False, "a reason", ImageState.FAILED),
            ("a word of tomorrow", False, False, ImageState.UNKNOWN),
            ("a word of tomorrow", True, False, ImageState.READY),
            (None, False, False, ImageState.UNKNOWN),
            (None, True, False, ImageState.READY),
            (None, False, True, ImageState.FAILED),
            (17, False, False, ImageState.UNKNOWN),
            ({"word": "processed"}, False, False, ImageState.UNKNOWN),
        ],
    )
    def test_where_an_image_stands(self, status: object, enhanced: object, error: object, state: ImageState) -> None:
        """Expired before failed before ready before what is still to come; flags speak where words do not."""
        assert one_image(image_id="a", status=status, enhanced=enhanced, error=error).state is state


class TestIdentity:
    """What may change without the picture being another, and what may not."""

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({"ai_version": 5.0}, {"ai_version": 5}),
            ({"enhance_type": " warm "}, {"enhance_type": "warm"}),
            ({"privacy": None}, {}),
            ({"restage": {"tvs": "AS_SHOT", "grass": "GREEN"}}, {"restage": {"grass": "GREEN", "tvs": "AS_SHOT"}}),
            ({"preview_url": "https://a/?sig=1"}, {"preview_url": "https://a/?sig=2"}),
            ({"views": 1, "last_accessed": "x", "account": {"credits": 9}}, {"views": 2, "expires_at": 7}),
            ({"metadata": {"a": 1}, "rating": 1, "scene": "bath"}, {"metadata": {}, "rating": 5, "scene": "hall"}),
        ],
        ids=str,
    )
    def test_equal_settings(self, one: dict[str, Any], other: dict[str, Any]) -> None:
        """However they are written; and unknown fields count for nothing."""
        assert one_image(**one).settings_json == one_image(**other).settings_json
        assert one_image(**one).settings_json == one_image(**other).settings_json

    @pytest.mark.parametrize("name", sorted(ENHANCEMENT_SETTINGS))
    def test_each_setting_counts(self, name: str) -> None:
        """Its value is there as plain JSON, and another value is another identity."""
        images = [
            one_image(**{name: value}) for value in (True, False, "WARM", 4.7, {"a": [1]}, "x" * 9_000, "x" * 9_001)
        ]

        assert json.loads(images[0].settings_json) == {name: True}
        assert json.loads(images[3].settings_json) == {name: 4.7}
        assert json.loads(images[4].settings_json) == {name: {"a": [1]}}
        assert len({image.settings_json for image in images}) == len(images)
        assert all(len(image.settings_json) < 200 for image in images)

    def test_every_setting_of_the_sandbox_is_known(self) -> None:
        """All that an image echoes, but for what does not change the picture."""
        assert (ECHOED | DEFAULT_SETTINGS.keys()) - ENHANCEMENT_SETTINGS == {"rating", "metadata"}

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", 10**40, 1e300])
    def test_odd_values_are_plain_json(self, value: object) -> None:
        """They can be read again, by any parser, and written as UTF-8."""
        text = one_image(upscale=value).settings_json

        json.loads(text, parse_constant=pytest.fail)
        text.encode()

    def test_marks_of_change(self) -> None:
        """Dates in one form, all else as it is; nothing where nothing is told, and never the purchase."""
        image = one_image(
            updated_at="2026-03-02 11:15:04+02:00",
            last_updated_at="a while ago",
            version=3,
            date_added=EPOCH * 1000,
            status_reason="redone",
            downloaded=True,
        )

        assert image.marks() == {
            "updated_at": MOMENT.isoformat(),
            "last_updated_at": "a while ago",
            "version": "3",
            "date_added": MOMENT.isoformat(),
            "status_reason": "redone",
        }
        assert image.downloaded
        assert one_image(image_id="a", updated_at=None).marks() == {}

    def test_version_0s_fingerprint(self) -> None:
        """Recorded there: its data directories are found again by it."""
        image = one_image(image_id="a", image_name="a.jpg", status="processed", ai_version="5.x", views=1, rating=3)

        assert image.legacy_fingerprint == "7dd774196ee97e0bf53d449cdc7a245c"

    def test_in_version_0s_fingerprint_a_second_id_is_a_field(self) -> None:
        """As it was there: only the id that an image is known by was left out."""
        named, known_by_both, by_another = (
            one_image(**ids).legacy_fingerprint
            for ids in ({"image_id": "a"}, {"image_id": "a", "id": "b"}, {"image_id": "a", "id": "c"})
        )

        assert len({named, known_by_both, by_another}) == 3
        assert one_image(id="b").legacy_fingerprint == named


def padded(images: Iterable[object] | None, **fields: Any) -> bytes:
    """The document of an order, long enough to be streamed."""
    entries = None if images is None else list(images)
    return json.dumps({"padding": "x" * order_document._STREAMED_FROM, "images": entries} | fields).encode()


def record(number: int, **fields: Any) -> dict[str, Any]:
    """As upstream has it, with what is of no interest here."""
    own = {"image_id": f"image-{number}", "image_name": f"room {number}.jpg", "status": "processed", "scene": "bath"}
    return (
        own | {"date_added": EPOCH + number, "preview_url": "https://a/?sig=" + "x" * 200} | DEFAULT_SETTINGS | fields
    )


class TestBytes:
    """The document as it comes over the wire: short ones at once, long ones as a stream."""

    @pytest.mark.parametrize(
        "fields",
        [
            {"name": "é \ud83c\udfe0", "order_id": "o", "status": "processed", "is_merging": True, "created_at": EPOCH},
            {"id": "o", "order_name": "n", "total_images": 7.0, "created_at": 1e300, "unknown": {"images": [1, {}]}},
            {"images": [record(1, ai_version=4.7), None, ["a"], record(1), 7, {"image_id": {"deep": [[{}]]}}, {}]},
            {"images": [record(1, finetune_settings={"a": [1, 2.5, None, {"b": 1e30}]}, upscale=2**62)]},
            {"images": None},
            {"images": []},
        ],
        ids=range(6),
    )
    def test_a_long_document_reads_like_a_short_one(self, fields: dict[str, Any]) -> None:
        """Whatever it holds."""
        document = {"images": [record(2)]} | fields

        assert read_order(padded(**{"images": [record(2)], **fields})) == read_order(json.dumps(document).encode())
        assert read_order(json.dumps(document).encode()) == parse_order(document)

    def test_the_last_of_two_fields_counts(self) -> None:
        """In both, as JSON has it."""
        twice = b'{"name": "a", "images": [{"image_id": "a"}], "name": "b", "images": [{"image_id": "b"}]'

        short, long = read_order(twice + b"}"), read_order(twice + b', "x": "' + b"x" * (1 << 20) + b'"}')

        assert short == long
        assert (short.name, [image.image_id for image in short.images]) == ("b", ["b"])

    def test_a_byte_order_mark_is_no_fault(self) -> None:
        """Whatever the length."""
        assert read_order(b"\xef\xbb\xbf{}") == Order()
        assert read_order(b"\xef\xbb\xbf" + padded([])) == Order()

    @pytest.mark.parametrize("size", [0, 1 << 20])
    @pytest.mark.parametrize(
        "start",
        [
            b"", b"<html>", b"null", b"7", b'"text"', b"[]", b"[{}]", b"{", b'{"images": [{"image_id": "a"}', b"{} {}",
            b"{}x", b'{"name": "\xc0\x80"}', b'{"name": "\xe2\x82',
            b'{"images": 7}', b'{"images": {}}', b'{"images": "many"}', b'{"name": "\xff"}', b"{'a': 1}",
            b'{"message": "Unauthorized", "detail": {}}', b'{"order": {"order_id": "a", "images": []}}',
            b'{"a": ' + b"9" * 5_000 + b"}", b"[" * 100_000, b'{"images": [' + b'{"a":' * 100_000,
        ],
        ids=lambda value: ascii(value)[:20],
    )  # fmt: skip
    def test_nonsense_is_refused(self, start: bytes, size: int) -> None:
        """And nothing else happens, whether it is short or, by blanks, long enough to be streamed."""
        with pytest.raises(InvalidDocument):
            read_order(b" " * size + start)

    def test_the_longest_document(self) -> None:
        """One byte more is refused unread."""
        blanks = b" " * (MAX_DOCUMENT_BYTES - 2)

        assert read_order(blanks + b"{}") == Order()
        with pytest.raises(InvalidDocument):
            read_order(blanks + b" {}")

    @pytest.mark.parametrize("junk", [b"null,", b"{},"])
    def test_a_list_of_nothings_ends_in_time(self, monkeypatch: pytest.MonkeyPatch, junk: bytes) -> None:
        """The suite's time limit is the judge."""
        monkeypatch.setattr(json_stream, "_MAX_PARTS", 500_000)
        body = b'{"images": [' + junk * (3_000_000 // len(junk)) + b"null]}"

        with pytest.raises(InvalidDocument):
            read_order(body)

    @pytest.mark.parametrize("text", ["é", "\\ud83d\\ude00"])
    def test_a_text_of_millions_ends_in_time(self, text: str) -> None:
        """One of 4 MB is read, whatever its letters are; one that takes up the whole document is refused."""
        body = '{"images": [{"image_id": "a"}], "name": "%s"}'

        order = read_order((body % (text * (4_000_000 // len(text.encode())))).encode())
        with pytest.raises(InvalidDocument):
            read_order((body % (text * (15_000_000 // len(text.encode())))).encode())

        assert len(order.name or "") == 1_000
        assert [image.image_id for image in order.images] == ["a"]

    @pytest.mark.parametrize("text", ["x", "é", "\\u00e9", '\\"', "\\\\", '\\\\\\"', "\\n", "\\\\x"], ids=ascii)
    def test_a_long_text_is_read_in_few_pieces(self, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        """Each takes it apart anew, and holds all threads; wherever a piece ends, the text is what it is."""
        pieces: list[int] = []
        read = json_stream._Source.read

        def counted(source: json_stream._Source, size: int) -> bytes:
            pieces.append(size)
            return read(source, size)

        monkeypatch.setattr(json_stream._Source, "read", counted)
        for shift in range(5):
            start = '{"name": "%s' % ("y" * shift)
            body = f'{start}{text * (2_000_000 // len(text.encode()))}", "images": [{{"image_id": "a"}}]}}'
            pieces.clear()

            order = read_order(body.encode())

            assert order == parse_order(json.loads(body))
            assert len(pieces) < 25

    def test_what_follows_a_long_text_comes_in_small_pieces(self) -> None:
        """However long the piece is in which it ends: parts of a piece are all in memory together."""
        body = b'{"x": "%s", "images": %s' % (b"x" * 2_100_000, b"[" * 400_000)

        tracemalloc.start()
        with pytest.raises(InvalidDocument):
            read_order(body)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert peak < 10_000_000

    @pytest.mark.parametrize("field", ["metadata", "restage", "status_reason", "image_name", "downloaded"])
    def test_a_deep_value_is_no_crash(self, field: str) -> None:
        """It may be nothing; the image's other settings and the other images are read."""
        deep = b'{"a":' * 2_000 + b"1" + b"}" * 2_000
        images = b'{"image_id": "a", "upscale": true, "%s": %s}, {"image_id": "b"}' % (field.encode(), deep)

        order = read_order(b'{"x": %s, "images": [%s]}%s' % (deep, images, b" " * order_document._STREAMED_FROM))

        assert [image.image_id for image in order.images] == ["a", "b"]
        assert json.loads(order.images[0].settings_json).items() >= {("upscale", True)}

    def test_a_record_without_end_is_unreadable(self) -> None:
        """It is not built, and the rest of the order is read."""
        order = read_order(padded([record(1), record(2, metadata=[[]] * 10_000), record(3)]))

        assert [image.image_id for image in order.images] == ["image-1", None, "image-3"]
        assert not order.images[1].is_readable

    def test_images_beyond_the_limit_are_counted(self) -> None:
        """In a short document as in a long one."""
        entries: list[Any] = [{"image_id": str(number)} for number in range(MAX_IMAGES + 7)]

        for order in (parse_order({"images": entries}), read_order(padded(entries, total_images=MAX_IMAGES + 9))):
            assert len(order.images) == MAX_IMAGES
            assert order.images[-1].image_id == str(MAX_IMAGES - 1)
            assert (order.images_beyond, order.image_count) == (7, MAX_IMAGES + 7)
        assert order.unlisted == 2

    @pytest.mark.parametrize("size", [0, order_document._STREAMED_FROM], ids=["short", "long"])
    def test_one_image_listed_over_and_over_is_read_so_often(self, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
        """As many times as an order may have images, and once more; all further entries are beyond the limit."""
        monkeypatch.setattr(order_document, "MAX_IMAGES", 3)

        order = read_order(b'{"images": [%s]}' % b",".join([b'{"id": "a"}'] * 9) + b" " * size)

        assert (len(order.images), order.duplicates, order.images_beyond) == (1, 3, 5)

    def test_what_is_beyond_the_limit_is_not_put_together(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A million entries are counted, and nothing else is done with them."""
        monkeypatch.setattr(order_document, "MAX_IMAGES", 1)
        added: list[object] = []
        add = order_document._Value.add

        def noted(value: order_document._Value, event: str, content: Any) -> None:
            added.append(content)
            add(value, event, content)

        monkeypatch.setattr(order_document._Value, "add", noted)
        order = read_order(padded([{"id": "first"}, {"id": "second"}, "third"]))

        assert order.images_beyond == 2
        assert "first" in added
        assert not {"second", "third"} & {content for content in added if isinstance(content, str)}

    def test_little_is_left_of_a_long_document(self) -> None:
        """Under 1 kB an image, hardly more while it is read; and the order's own figure is not below the truth."""
        body = padded(record(number) for number in range(1_000))

        tracemalloc.start()
        order = read_order(body)
        kept, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert len(order.images) == 1_000
        assert kept <= order.memory_bytes <= 1_000 * 1_000
        assert peak <= kept + 2_000_000


class TestAnyDocument:
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["a", "processed"])
    values = st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.sampled_from(FIELDS), inner),
        max_leaves=12,
    )
    records = st.dictionaries(st.sampled_from(FIELDS) | st.text(), values, max_size=6)
    orders = st.builds(lambda fields, images: fields | {"images": images}, records, st.lists(records, max_size=5))

    @given(document=values | records | orders)
    def test_it_is_an_order_or_invalid_and_nothing_else(self, document: object) -> None:
        """Whatever JSON arrives, no other error does; and what was read can be asked anything."""
        try:
            order = parse_order(document)
        except InvalidDocument:
            return

        assert all(image.state in ImageState for image in order.images)
        assert order.is_final in (True, False)
        ids = [image.image_id for image in order.images if image.image_id is not None]
        assert len(ids) == len(set(ids))

    @pytest.mark.parametrize(
        "text", ['{"a":' * 900 + "1" + "}" * 900, '{"images": [' + '{"a":' * 900 + "1" + "}" * 900 + "]}"]
    )
    def test_deep_nesting_is_no_crash(self, text: str) -> None:
        """As deep as the JSON parser goes, it is read or refused."""
        document = json.loads(text)

        try:
            order = parse_order(document)
        except InvalidDocument:
            return
        assert isinstance(order, Order)
