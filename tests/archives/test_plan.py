"""What an archive will hold, and when two requests want the same."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import AsyncMock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.archives import build
from service.archives.build import BuildContext
from service.archives.options import Options
from service.archives.plan import Plan, PlannedImage, PlannedOrder, join, options_key
from service.archives.planner import Planner, parts_of, with_parents
from service.computing import MANY_IMAGES
from service.images.identity import key_digest
from service.problems import OrderEmpty, OrderNotFound, TooManyImages, UnknownImage, UpstreamTimeout
from service.upstream.models import ImageState, Original, Rendition
from service.upstream.order_document import parse_order
from tests.support.samples import ORDER, order, photo


def plan(
    images: list[Any], generations: dict[str, int] | None = None, *, max_images: int = 100, **options: Any
) -> Plan:
    """Of an order with these images (ids or records)."""
    return Planner(max_images).plan(ORDER, parse_order(order(images)), generations or {}, Options(**options))


def images_of(whole: Plan, at: int) -> list[PlannedImage]:
    """Those of one of its orders."""
    return [image for image in whole.images if image.order == at]


def test_images_are_in_the_orders_sequence() -> None:
    """Whatever the sequence in which they were chosen."""
    assert [image.image_id for image in plan(["c", "a", "b"]).images] == ["c", "a", "b"]
    assert [image.image_id for image in plan(["c", "a", "b"], image=("b", "c")).images] == ["c", "b"]


@pytest.mark.parametrize(
    ("images", "options"),
    [
        ([photo("a", rating=5), "b"], {}),
        ([photo("a", downloaded=True), "b"], {}),
        ([photo("a", url="https://assets.example/a?signature=2"), "b"], {}),
        (["a", "b"], {"on_failure": "strict", "delivery": "complete", "refresh": True}),
        (["a", "b"], {"wait_timeout": 5}),
    ],
    ids=["rating", "bought", "address", "delivery", "deadline of no wait"],
)
def test_who_wants_the_same_has_the_same_key(images: list[Any], options: dict[str, Any]) -> None:
    """Whatever changes by itself, and however it is delivered."""
    same = plan(images, **options)

    assert (same.key, same.build_key) == (plan(["a", "b"]).key, plan(["a", "b"]).build_key)


@pytest.mark.parametrize(
    ("images", "generations", "options"),
    [
        (["a"], {}, {}),
        (["b", "a"], {}, {}),
        (["a", "b", "c"], {}, {}),
        ([photo("a", "renamed.jpg"), "b"], {}, {}),
        ([photo("a", enhance_type="warm"), "b"], {}, {}),
        (["a", "b"], {"a": 1}, {}),
        (["a", "b"], {}, {"preview": False}),
        (["a", "b"], {}, {"image": ("a", "b")}),
        (["a", "b"], {}, {"rendition": ["print", "web"]}),
        (["a", "b"], {}, {"names": "{seq}"}),
    ],
    ids=[
        *("fewer", "sequence", "more", "renamed", "setting", "made anew", "rendition", "subset", "renditions", "names"),
    ],
)
def test_who_wants_something_else_has_another(
    images: list[Any], generations: dict[str, int], options: dict[str, Any]
) -> None:
    """Each of these changes the bytes, or what is asked for. A renamed image is there under its new name."""
    assert plan(images, generations, **options).key != plan(["a", "b"]).key


def test_an_image_has_a_place_in_each_rendition() -> None:
    """Rendition by rendition, under the same name, in a folder each; an only one has none."""
    made = plan(["a", "b"], rendition=["web", "print"])

    assert [image.entry for image in made.images] == [("a", "print"), ("b", "print"), ("a", "web"), ("b", "web")]
    assert len({image.key for image in made.images}) == 4
    assert [made.rendition(image) for image in made.images[1:3]] == [Rendition(preview=False), Rendition(format="webp")]
    assert [image.entry for image in plan(["a"], rendition=["web"]).images] == [("a", "")]


def test_an_image_is_the_same_in_whatever_archive_it_is() -> None:
    """A rendition that is stored is not fetched again because it is one of several now."""
    several, one = plan(["a"], rendition=["print", "web"]), plan(["a"], preview=False)

    assert several.images[0].key == one.images[0].key
    assert plan(["a"], rendition=["print"]).key == one.key


def test_the_limit_counts_the_orders_images() -> None:
    """However many renditions there are of each."""
    assert len(plan(["a", "b"], max_images=2, rendition=["print", "web"]).images) == 4


def test_names_are_made_of_the_place_in_the_whole_order() -> None:
    """With as many digits as the order's count, at least two; also in a part, or of some images."""
    images = [photo(f"i{number}", date_added=1_772_442_904 + number) for number in range(130)]

    assert plan(["a", "b"], names="{seq}_{name}").stems == {"a": "01_a", "b": "02_b"}
    assert plan(images, names="{seq}", image=("i5", "i98")).stems == {"i5": "006", "i98": "099"}
    second = plan(images, names="{order} {seq} {image_id}", part=2).stems
    assert list(second.values()) == [f"12 Harbour Lane {number + 1} i{number}" for number in range(100, 130)]


@pytest.mark.parametrize("dates", [{"date_added": None}, {"date_added": 1_772_442_904}], ids=["no dates", "one date"])
def test_parts_are_the_same_however_the_order_is_listed(dates: dict[str, Any]) -> None:
    """Images that were added at one moment are parted by their ids: none is in two parts, or in none."""
    images = [photo(image_id, **dates) for image_id in "abcde"]

    parts = [
        [{image.image_id for image in plan(listed, max_images=2, part=part).images} for part in (1, 2, 3)]
        for listed in (images, images[::-1], images[2:] + images[:2])
    ]

    assert parts == [[{"a", "b"}, {"c", "d"}, {"e"}]] * 3


def test_an_original_is_planned_beside_each_image() -> None:
    """Last of all; whatever the image was enhanced with, and as soon as it is uploaded."""
    made = plan(["a", photo("b", status="processing"), photo("c", status="waiting")], include=("original",))
    warm = plan([photo("a", enhance_type="warm")], {"a": 0}, include=("original",), quality=5)

    assert [image.entry for image in made.images[3:]] == [(one, "originals") for one in "abc"]
    assert [image.state for image in made.images[3:]] == [ImageState.READY, ImageState.READY, ImageState.WAITING]
    assert made.request(made.images[3]).rendition == Original()
    assert warm.images[1].key == made.images[3].key != made.images[0].key
    assert not plan(["a"], include=("original",), preview=False).request(warm.images[1]).buys


@pytest.mark.parametrize(
    ("parents", "source"),
    [({"b": "a"}, "a"), ({"b": "a", "c": "b"}, "a"), ({"b": "gone"}, "gone"), ({"a": "b", "b": "a"}, "b")],
)
def test_a_sub_image_has_its_parents_original(parents: dict[str, str], source: str) -> None:
    """Also a sub-image of one, one of a parent that is not listed, and whatever a broken list says."""
    records = [photo(one, parent_image_id=parents.get(one)) for one in "abc"]
    made = plan(records, include=("original",))
    last = made.images[3:][max("abc".index(one) for one in parents)]

    assert made.request(last).image_id == source


def test_what_became_of_a_parents_original_is_told_of_the_sub_images() -> None:
    """Whether it is there, and why not, is a matter of what was uploaded."""
    records = [photo("a", status="expired", status_reason="Too old."), photo("b", parent_image_id="a")]

    original = plan(records, include=("original",)).images[3]

    assert (original.image_id, original.state, original.status_reason) == ("b", ImageState.EXPIRED, "Too old.")


def test_images_that_are_not_listed_are_counted() -> None:
    """For who wants all or nothing."""
    document = parse_order(order(["a"]) | {"total_images": 3})

    assert Planner(100).plan(ORDER, document, {}, Options()).orders[0].unlisted == 2


@pytest.mark.parametrize(
    ("fields", "is_told"), [({"is_merging": True}, True), ({"is_processing": True}, True), ({}, False)]
)
def test_an_order_without_images_says_whether_some_may_come(fields: dict[str, Any], is_told: bool) -> None:
    """While brackets are merged, or none of them is listed yet."""
    with pytest.raises(OrderEmpty) as raised:
        Planner(100).plan(ORDER, parse_order(order([], **fields)), {}, Options())

    assert ("still merging" in str(raised.value)) is is_told


@pytest.mark.parametrize(
    "parents", [{}, {"b": "a"}, {"b": "a", "c": "b"}, {"b": "gone"}, {"a": "b", "b": "a"}, {"c": "c"}]
)
def test_an_original_depends_on_its_image_and_the_parents_alone(parents: dict[str, str]) -> None:
    """A plan of so few images has the original that a plan of the whole order has."""
    whole = parse_order(order([photo(one, parent_image_id=parents.get(one)) for one in "abc"]))
    generations = {"a": 1, "b": 2, "c": 3}
    for record in whole.images:
        options = Options(include=("original",), image=(record.image_id,))
        few = with_parents(whole, record)
        made = Planner(100).plan(ORDER, few, generations, options)

        assert made.images == Planner(100).plan(ORDER, whole, generations, options).images
        assert {image.image_id for image in few.images} <= {record.image_id, *parents.values()}


def test_what_is_held_is_left_out_under_the_names_of_the_whole() -> None:
    """And the plan is kept with them."""
    made = plan([photo("a", "kitchen.jpg"), photo("b", "kitchen.jpg")], since="0" * 32)

    rest = made.without({key_digest(made.images[0].key)})

    assert [(image.image_id, rest.stems[image.image_id]) for image in rest.images] == [("b", "kitchen_1")]
    assert Plan.model_validate_json(rest.model_dump_json(exclude_defaults=True)) == rest
    assert made.key == rest.key != plan([photo("a", "kitchen.jpg"), photo("b", "kitchen.jpg")]).key


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "rendition": st.sampled_from([("web",), ("print", "web"), ("mls", "x,quality=3")]),
        "names": st.sampled_from(["{name}", "{seq}", "{seq}_{name}"]),
        "include": st.sampled_from([(), ("original",), ("manifest",), ("original", "manifest")]),
        "image": st.sampled_from([(), ("a",), ("a", "b")]),
        "since": st.sampled_from([None, "0" * 32, "1" * 32]),
        "dev_mode": st.booleans(),
    },
)


@given(OPTIONS, OPTIONS)
def test_one_key_for_one_request(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Equal plans have one key and differing ones each their own, over all options that decide what is in the ZIP."""
    one, other = plan(["a", "b"], **first), plan(["a", "b"], **second)

    def asked(made: Plan) -> tuple[Any, ...]:
        options = made.options
        return options.renditions, options.names, options.include, options.subset, options.since

    assert (one.key == other.key) == (asked(one) == asked(other))
    assert (one.options_key == other.options_key) == (asked(one) == asked(other))
    assert Plan.model_validate_json(one.model_dump_json(exclude_defaults=True)) == one
    assert Planner(100).plan(ORDER, parse_order(order(["a", "b"])), {}, one.options).key == one.key


MILL = "0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be00a"


def both(*, name: str = "Mill Road", images: tuple[str, ...] = ("a", "c"), **options: Any) -> Plan:
    """Of the order and another one, in which there may be images of the same ids."""
    other = parse_order(order(images, order_id=MILL, name=name))
    return join(
        [plan(["a", "b"], **options), Planner(100).plan(MILL, other, {}, Options(**options))], Options(**options)
    )


@pytest.mark.parametrize("how", [{}, {"delivery": "complete", "refresh": True}])
def test_how_several_orders_are_delivered_is_no_part_of_their_plan(how: dict[str, Any]) -> None:
    """Their manifests, which tell of the options, are the same bytes for all who have one archive."""
    assert both(quality=70, **how).options == Options(quality=70)


def test_what_is_kept_is_found_by_later_versions() -> None:
    """By the same keys: whoever changes them on purpose changes these too, and has everybody's archives made again."""
    options = Options.model_validate({"rendition": ["web", "print"], "names": "{seq}", "include": ["original"]})

    assert options_key("o", Options()) == "94aa9febceede8b2697283bf590de6e0"
    assert options_key("o", options) == "7be4298fe2ceca38b29f368875c206a4"


def test_several_orders_have_a_folder_each() -> None:
    """Below it, renditions theirs; names and numbers are those of each order alone."""
    made = both(rendition=["web", "print"], names="{seq}_{name}")

    assert [order.folder for order in made.orders] == ["12 Harbour Lane", "Mill Road"]
    assert [image.entry for image in images_of(made, 1)] == [
        *(("a", "Mill Road/print"), ("c", "Mill Road/print"), ("a", "Mill Road/web"), ("c", "Mill Road/web")),
    ]
    assert made.file_name(images_of(made, 1)[1], made.stems, "jpg") == "Mill Road/print/02_c.jpg"
    assert len({image.entry for image in made.images}) == len(made.images) == 8
    assert [order.total for order in made.orders] == [4, 4]


def test_an_order_is_replaced_by_what_it_is_now() -> None:
    """In its folder, whatever it is called by then; the others stay."""
    before = both()
    renamed = Planner(100).plan(MILL, parse_order(order(["c", "d"], order_id=MILL, name="Renamed")), {}, Options())

    after = before.replaced(1, renamed)

    assert images_of(after, 0) == images_of(before, 0)
    assert [image.entry for image in images_of(after, 1)] == [("c", "Mill Road"), ("d", "Mill Road")]
    assert after.key != before.key == before.replaced(0, plan(["a", "b"])).key


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("now", [["x", "y", "z"], ["x"]])
def test_a_plan_with_one_order_replaced_is_that_of_all_as_they_are(at: int, now: list[str]) -> None:
    """Whichever order it is, and whether it has more files or fewer."""
    options = Options.model_validate({"rendition": ["web", "print"], "include": ["original"]})
    ids = [ORDER, MILL, MILL[:-1] + "b"]

    def plans(*listed: list[str]) -> list[Plan]:
        orders = [parse_order(order(images, order_id=one)) for one, images in zip(ids, listed, strict=True)]
        return [Planner(100).plan(one, document, {}, options) for one, document in zip(ids, orders, strict=True)]

    before = [["a", "b"], ["c", "d"], ["e", "f"]]
    changed = plans(*before[:at], now, *before[at + 1 :])

    assert join(plans(*before), options).replaced(at, changed[at]) == join(changed, options)


def context(max_images: int) -> BuildContext:
    """What makes plans, of images that were never made anew."""
    other: Any = AsyncMock(**{"observe.return_value": {}})
    return BuildContext(other, other, other, other, other, Planner(max_images), other)


@pytest.mark.parametrize(("count", "is_beside"), [(100, False), (2_000, True)])
async def test_a_long_plan_is_made_beside_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, count: int, is_beside: bool
) -> None:
    """A short one at once: it shall not queue behind long work."""
    made_on: list[int] = []
    really = Planner.plan

    def noted(*args: Any) -> Plan:
        made_on.append(threading.get_ident())
        return really(*args)

    monkeypatch.setattr(Planner, "plan", noted)
    document = parse_order(order([str(number) for number in range(count)]))

    made = await context(max_images=2_000).plan(ORDER, document, Options())

    assert len(made.images) == count
    assert (made_on != [threading.get_ident()]) is is_beside


@pytest.mark.parametrize("many", [MANY_IMAGES // 2, MANY_IMAGES // 2 + 1])
async def test_each_rendition_counts_for_how_long_a_plan_takes(monkeypatch: pytest.MonkeyPatch, many: int) -> None:
    """Two of each image are twice the work; images beyond the limit are none."""
    told: list[bool] = []

    async def compute(work: Callable[[], Plan], *, is_short: bool) -> Plan:
        told.append(is_short)
        return work()

    monkeypatch.setattr(build, "compute", compute)
    document = parse_order(order([str(number) for number in range(many)]))
    options = Options.model_validate({"rendition": ["web", "print"]})

    await context(max_images=2_000).plan(ORDER, document, options)
    with pytest.raises(TooManyImages):
        await context(max_images=1).plan(ORDER, document, options)

    assert told == [many * 2 <= MANY_IMAGES, True]


def test_the_original_of_a_sub_image_is_its_parents() -> None:
    """With its key, whether the parent is listed or not, its generation, and its date."""
    dates = {"p": "2026-01-01T00:00:00+00:00", "b": "2026-02-02T00:00:00+00:00"}
    parent, sub = photo("p", date_added=dates["p"]), photo("b", parent_image_id="p", date_added=dates["b"])
    own, of_sub = plan([parent, sub], {"p": 3, "b": 5}, include=("original",)).images[2:]
    unlisted = plan([sub], {"p": 3, "b": 5}, include=("original",)).images[1]

    assert own.key == of_sub.key == unlisted.key
    assert [one.modified.isoformat() for one in (own, of_sub, unlisted)] == [dates["p"], dates["p"], dates["b"]]


@pytest.mark.parametrize(("part", "images"), [(None, 5), (1, 2), (3, 1)])
def test_an_outline_has_all_images_or_those_of_the_part(part: int | None, images: int) -> None:
    """Parts are as large as those of a download."""
    document = parse_order(order(list("abcde")))

    assert len(Planner(2).outline(ORDER, document, {}, Options(part=part)).images) == images


def test_an_order_without_a_name_lends_its_id_to_a_template() -> None:
    """As it does to an archive's name."""
    document = parse_order({"images": [photo("a")]})

    (image,) = Planner(100).plan("o1", document, {}, Options(names="{order} {seq}")).images
    assert image.stem == "order-o1 01"


def test_an_image_without_an_id_is_called_as_no_other_is() -> None:
    """Whatever the others are called."""
    images = plan([{"image_name": "hall.jpg"}, photo("unidentified-1"), photo("unidentified-1x")]).images

    assert [image.image_id for image in images] == ["unidentified-1xx", "unidentified-1", "unidentified-1x"]


@pytest.mark.parametrize(("images", "parts"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_no_part_is_empty(images: int, parts: int) -> None:
    """And none has more than an archive may have: here two."""
    assert parts_of(images, 2) == parts


def test_a_part_is_chosen_by_date_and_has_the_orders_sequence() -> None:
    """As a download of the whole has."""
    records = [photo(image_id, date_added=f"2026-01-0{day}") for image_id, day in (("c", 3), ("b", 2), ("a", 1))]
    parts = [plan(records, max_images=2, part=part) for part in (1, 2)]

    assert [[image.image_id for image in part.images] for part in parts] == [["b", "a"], ["c"]]


def test_a_parent_that_was_made_anew_makes_another_archive_of_originals() -> None:
    """The image itself is as it was."""
    plans = [plan([photo("b", parent_image_id="p")], {"p": at}, include=("original",)) for at in range(2)]

    assert plans[0].images[0].key == plans[1].images[0].key
    assert plans[0].key != plans[1].key


def test_an_order_that_failed_otherwise_is_another_plan() -> None:
    """One that is unknown is not one that could not be asked for."""
    failed = [PlannedOrder.failed("b", None, problem) for problem in (OrderNotFound(), UpstreamTimeout())]

    assert len({join([plan(["a"]), one], Options()).key for one in failed}) == 2


def test_an_image_that_two_orders_have_is_called_as_in_each() -> None:
    """Its id is the same in both."""
    other = Planner(100).plan("other", parse_order(order([photo("a", image_name="hall.jpg")])), {}, Options())
    joined = join([plan([photo("a", image_name="bath.jpg")]), other], Options())

    names = [joined.file_name(image, joined.stems, "jpg").rpartition("/")[2] for image in joined.images]
    assert names == ["bath.jpg", "hall.jpg"]


def test_whoever_asks_for_something_else_has_another_options_key() -> None:
    """Whatever the images are."""
    asked: tuple[dict[str, Any], ...] = (
        {},
        {"part": 1},
        {"part": 2},
        {"image": ("a",)},
        {"names": "{seq}"},
        {"include": ["original"]},
    )

    assert len({options_key("o", Options.model_validate(one)) for one in asked}) == len(asked)


def test_each_image_is_asked_for_as_one_of_its_order() -> None:
    """By which other instances find it."""
    other = Planner(100).plan("other", parse_order(order(["b"])), {}, Options())
    joined = join([plan(["a"]), other], Options())

    assert [joined.request(image).order_id for image in joined.images] == [ORDER, "other"]


def test_an_order_that_failed_is_part_of_the_plan() -> None:
    """With a folder for its report, and without images; the archive is another one than without it."""
    failed = PlannedOrder.failed(MILL, None, OrderEmpty())
    made, without = join([plan(["a"]), failed], Options()), join([plan(["a"])], Options())

    assert (made.orders[1].folder, made.orders[1].code) == (f"order-{MILL}", "order_empty")
    assert made.images == without.images
    assert len({made.key, without.key, plan(["a"]).key}) == 3


@given(OPTIONS, OPTIONS, st.sampled_from(["Mill Road", "12 harbour lane", ""]), st.sampled_from([("a",), ("a", "c")]))
def test_one_key_for_one_request_of_several(
    first: dict[str, Any], second: dict[str, Any], name: str, images: tuple[str, ...]
) -> None:
    """As of one order; and it is kept as it is."""
    single = ("image", "since")
    first, second = ({key: value for key, value in one.items() if key not in single} for one in (first, second))
    one, other = both(name=name, images=images, **first), both(name=name, images=images, **second)

    def asked(made: Plan) -> tuple[Any, ...]:
        return made.options.renditions, made.options.names, made.options.include

    assert (one.key == other.key) == (asked(one) == asked(other)) == (one.options_key == other.options_key)
    assert (one.key == both(**first).key) == (name == "Mill Road" and images == ("a", "c"))
    assert Plan.model_validate_json(one.model_dump_json(exclude_defaults=True)) == one
    assert len({image.entry for image in one.images}) == len(one.images)


def test_an_order_that_grew_has_other_numbers() -> None:
    """So it is another archive, although the image is the same."""
    before = plan(["b"], names="{seq}", image=("b",))
    after = plan(["a", "b"], names="{seq}", image=("b",))

    assert before.images[0].key == after.images[0].key
    assert before.key != after.key


def test_a_plan_of_an_earlier_version_is_read() -> None:
    """Of version 0, and of one that kept the parts of its options one by one."""
    made = plan(["a", "b"], quality=80, image=("a",), wait=True, wait_timeout=7)
    kept = json.loads(made.model_dump_json())
    del kept["options"]
    for image in kept["images"]:
        for name in ("rendition", "folder", "stem"):
            del image[name]
    (its_order,) = kept.pop("orders")
    kept |= {"order_id": its_order["order_id"], "order_name": its_order["name"], "unlisted": 2}
    rendition = Rendition(quality=80).model_dump()
    more = {"subset": ["a"], "wait": True, "wait_timeout": 7}
    first = {name: value for name, value in kept.items() if name != "options_key"} | {"family": kept["options_key"]}

    assert Plan.model_validate(kept | more | {"rendition": rendition}).images == made.images
    assert Plan.model_validate_json(json.dumps(kept | more | {"rendition": rendition})).request(
        made.images[0]
    ) == made.request(made.images[0])
    assert Plan.model_validate(kept | more | {"rendition": rendition}).orders == (
        PlannedOrder(order_id=ORDER, name="12 Harbour Lane", total=1, unlisted=2),
    )
    old = Plan.model_validate(first | more | {"rendering": rendition})
    assert (old.options.subset, old.wait, old.wait_timeout, old.options_key) == (("a",), True, 7, made.options_key)
    assert Planner(100).plan(ORDER, parse_order(order(["a", "b"])), {}, old.options).key == made.key


def test_a_renamed_image_is_the_same_image() -> None:
    """It is stored already, and nothing is bought again; the archive is another one."""
    before, after = plan(["a"]), plan([photo("a", "renamed.jpg")])

    assert before.images[0].key == after.images[0].key
    assert after.images[0].name == "renamed.jpg"


def test_who_waits_has_a_build_of_his_own() -> None:
    """A finished archive serves both."""
    waiting, other = plan(["a"], wait=True), plan(["a"])

    assert waiting.key == other.key
    assert waiting.build_key != other.build_key


@pytest.mark.parametrize("status", ["processing", "waiting", "error"])
def test_who_asks_when_more_is_ready_has_a_build_of_his_own(status: str) -> None:
    """One before it reports as missing what is here by now. Those that wait share theirs."""
    before, now = [photo("a"), photo("b", status=status)], [photo("a"), photo("b")]

    assert plan(before).key == plan(now).key
    assert plan(before).build_key != plan(now).build_key
    assert plan(before).build_key == plan(before).build_key
    assert plan(before, wait=True).build_key == plan(now, wait=True).build_key


def test_the_options_key_outlives_changes_of_the_order() -> None:
    """It finds a stale archive; other options, another subset or another order are not that."""
    same = options_key(ORDER, Options())

    assert plan(["a"]).options_key == plan(["b", "c"], {"b": 3}).options_key == same
    others = [Options(quality=80), Options(image=("a",)), Options(preview=False)]
    assert len({same, options_key("other", Options()), *(options_key(ORDER, one) for one in others)}) == 5
    assert options_key(ORDER, Options(image=("a", "b", "a"))) == options_key(ORDER, Options(image=("b", "a")))


def test_the_plan_can_be_made_again_from_a_newer_order() -> None:
    """With the options it was made of."""
    first = plan(["a", "b"], image=("a",), quality=80, wait=True, wait_timeout=7)
    again = Planner(100).plan(ORDER, parse_order(order(["a", "b"])), {}, first.options)

    assert again == first


def test_it_is_kept_as_it_is() -> None:
    """On the disk as in memory."""
    made = plan([photo("a", status="processing"), "b"], image=("a", "b"), rendition=["print", "web"], names="{seq}")

    assert Plan.model_validate_json(made.model_dump_json()) == made
    assert Plan.model_validate_json(made.model_dump_json(exclude_defaults=True)) == made


def test_images_that_cannot_be_distinguished_each_have_an_entry() -> None:
    """Those without an id cannot be fetched, and are reported."""
    images = plan([{"image_name": "x.jpg"}, {"image_name": "y.jpg"}]).images

    assert len({image.image_id for image in images}) == 2
    assert [image.state for image in images] == [ImageState.FAILED] * 2


def test_neither_an_image_without_an_id_nor_its_original_can_be_fetched() -> None:
    """Both are reported."""
    images = plan([{"image_name": "hall.jpg"}], include=("original",)).images

    assert [image.state for image in images] == [ImageState.FAILED] * 2


@pytest.mark.parametrize("count", [2, 3])
def test_there_is_a_limit(count: int) -> None:
    """Of the chosen images."""
    images = [f"i{number}" for number in range(count)]
    if count > 2:
        with pytest.raises(TooManyImages):
            plan(images, max_images=2)
    assert len(plan(images, max_images=2, image=("i0", "i1")).images) == 2


def test_images_that_are_counted_but_not_kept_are_told() -> None:
    """They count against the limit; the last part says that they are missing, and a choice of images lacks none."""
    document = replace(parse_order(order(["a", "b", "c"])), images_beyond=2)
    with pytest.raises(TooManyImages, match="5 images; the limit is 4"):
        Planner(4).plan(ORDER, document, {}, Options())

    plans = [
        Planner(5).plan(ORDER, document, {}, Options()),
        Planner(2).plan(ORDER, document, {}, Options(part=1)),
        Planner(2).plan(ORDER, document, {}, Options(part=2)),
        Planner(2).plan(ORDER, document, {}, Options(image=("a", "b"))),
        Planner(2).outline(ORDER, document, {}, Options()),
    ]

    told = [(len(made.images), made.orders[0].unlisted) for made in plans]
    assert told == [(3, 2), (2, 0), (1, 2), (2, 0), (3, 2)]


def test_what_cannot_be_planned() -> None:
    """An order without images, and images that are not the order's."""
    with pytest.raises(OrderEmpty):
        plan([])
    with pytest.raises(UnknownImage):
        plan(["a"], image=("a", "z"))


def test_a_bought_image_costs_nothing() -> None:
    """Whatever the rendition; others do."""
    made = plan([photo("a", downloaded=True), "b"], preview=False)

    assert [made.request(image).buys for image in made.images] == [False, True]


def test_what_a_build_would_buy() -> None:
    """A credit for each image that is not stored, in however many renditions; none for what it would not ask for."""
    images = ["a", photo("b", status="error"), photo("c", status="expired"), photo("d", downloaded=True), "e"]
    made = plan(images, rendition=("one,preview=false", "two,preview=false,format=png"))
    stored = [image.key for image in made.images if image.image_id == "e"]

    assert (made.to_buy(()), made.to_buy(stored), plan(images).to_buy(())) == (2, 1, 0)


def test_keys_of_version_0_only_where_it_left_something() -> None:
    """Elsewhere nobody looks for them."""
    document = parse_order(order(["a"]))
    without, with_them = (Planner(100, has).plan(ORDER, document, {}, Options()) for has in (False, True))

    again = Plan.model_validate_json(with_them.model_dump_json())
    legacy = [[getattr(key, "legacy", None) for key in made.keys] for made in (without, with_them, again)]
    assert without == with_them == again
    assert legacy[0] == [None] != legacy[1] == legacy[2]
    assert without.model_dump_json() != with_them.model_dump_json()


def test_a_plan_with_a_scale_of_zero_is_read_again_and_again() -> None:
    """An earlier version took it: in its own form, and in the one that such a plan is kept in from now on."""
    today = json.loads(Planner(100).plan(ORDER, parse_order(order(["a"])), {}, Options()).model_dump_json())
    old = {name: value for name, value in today.items() if name != "options"} | {
        "rendition": {"scale": 0, "format": "png"}
    }

    first = Plan.model_validate_json(json.dumps(old))
    second = Plan.model_validate_json(first.model_dump_json())
    third = Plan.model_validate(second.model_dump(mode="json"))

    assert [plan.options.scale for plan in (first, second, third)] == [0, 0, 0]
    assert third.rendition(third.images[0]) == Rendition(format="png", scale=0)
    assert third.options == first.options


def test_the_chosen_images_are_sorted_once_not_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: hundreds of ids would be sorted hundreds of times."""
    counts: list[int] = []
    read = vars(Options)["subset"].fget

    def counted(options: Options) -> Any:
        counts[-1] += 1
        return read(options)

    monkeypatch.setattr(Options, "subset", property(counted))
    for number in (2, 200):
        counts.append(0)
        ids = [f"image-{place}" for place in range(number)]
        made = plan(ids, image=tuple(ids), max_images=number)
        assert [made.request(image).image_id for image in made.images] == ids

    assert 0 < counts[0] == counts[1]
