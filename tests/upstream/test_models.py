"""Upstream's records in all the shapes they come in."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.upstream.models import ImageRecord, ImageState, InvalidOrder, Order, parse_order

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

        assert order.model_dump(exclude={"images", "total_images"}) == Order().model_dump(exclude={"images"})
        assert order.images == (ImageRecord(),)
        assert parse_order({"images": None}) == Order()

    @pytest.mark.parametrize("count", [0, 2, 2.0, 7.5, "2", None, [], -1])
    def test_the_announced_number_of_images_is_not_believed(self, count: object) -> None:
        """`total_images` may be a float, and need not be right; the list counts."""
        order = parse_order({"images": [{"image_id": "a"}], "total_images": count})

        assert len(order.images) == 1

    @pytest.mark.parametrize(
        "document",
        [None, [], "order", 7, True, {"images": "many"}, {"images": {}}, {"images": [None]}, {"images": [["a"]]}],
        ids=repr,
    )
    def test_what_is_no_order_is_refused(self, document: object) -> None:
        """Anything but an object with a list of objects."""
        with pytest.raises(InvalidOrder):
            parse_order(document)

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
        ("fields", "states", "settled", "grows"),
        [
            ({}, [], False, False),
            ({}, ["processed"], True, False),
            ({}, ["processed", "error", "expired"], True, False),
            ({}, ["processed", "processing"], False, False),
            ({}, ["processed", "waiting"], False, False),
            ({}, ["processed", "a word of tomorrow"], False, False),
            ({"is_processing": True}, ["processed"], True, False),
            ({"is_processing": True}, [], False, True),
            ({"is_merging": True}, [], False, True),
            ({"is_merging": True}, ["processed"], False, True),
        ],
    )
    def test_when_an_order_is_settled(
        self, fields: dict[str, Any], states: list[str], settled: bool, grows: bool
    ) -> None:
        """Settled means that no image changes and none appears by itself; only a growing order gets more."""
        order = parse_order(fields | {"images": [{"image_id": str(i), "status": s} for i, s in enumerate(states)]})

        assert (order.is_settled, order.may_grow) == (settled, grows)


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

    def test_ids_that_no_address_can_hold_are_none_each(self) -> None:
        """Cleaned they would be equal, and one image would be lost without a word."""
        order = parse_order({"images": [{"image_id": "a\ud800"}, {"image_id": "a\ud801", "image_name": "x\udfff.jpg"}]})

        assert [(image.image_id, image.image_name) for image in order.images] == [(None, None), (None, "x\ufffd.jpg")]

    @pytest.mark.parametrize("version", ["5.x", 4.7, 5, None])
    def test_fields_of_no_interest_take_any_shape_and_are_kept(self, version: object) -> None:
        """`ai_version` was a number once; it is part of what identifies a rendering."""
        image = one_image(image_id="a", ai_version=version, metadata={"camera": ["front"]}, privacy=None)

        assert image.model_extra == {"ai_version": version, "metadata": {"camera": ["front"]}, "privacy": None}

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
            (0, datetime(1970, 1, 1, tzinfo=UTC)),
            ("2026-03-02T09:15:04", MOMENT),
            ("2026-03-02T09:15:04.120931", MOMENT.replace(microsecond=120931)),
            ("2026-03-02T09:15:04Z", MOMENT),
            ("2026-03-02T11:15:04+02:00", MOMENT),
            ("2026-03-02", datetime(2026, 3, 2, tzinfo=UTC)),
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
        """Epochs in seconds or (over 10^11) milliseconds, ISO dates with or without a zone; nonsense is no date."""
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
        except InvalidOrder:
            return

        assert all(image.state in ImageState for image in order.images)
        assert order.is_settled in (True, False)
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
        except InvalidOrder:
            return
        assert isinstance(order, Order)
