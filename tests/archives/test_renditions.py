"""Several renditions in one archive: presets, changed ones, and the caller's own."""

from typing import Any

import pytest
from pydantic import ValidationError

from service.archives.options import Options
from service.archives.renditions import PRESETS_OF_CONTEXT, NamedRendition, read_presets
from service.upstream.models import Rendition

FULL = Rendition(preview=False)
KEYS = "after the name come key=value, where key is format, quality, preview, max_width, scale"


def asked(*texts: str, own: dict[str, Any] | None = None, **more: Any) -> Options:
    """Options with these renditions, where the operator has presets of their own."""
    context = {PRESETS_OF_CONTEXT: read_presets(own or {})}
    return Options.model_validate({"rendition": list(texts), **more}, context=context)


def refusal(*texts: str, **more: Any) -> tuple[str, str]:
    """The parameter that is refused, and why."""
    with pytest.raises(ValidationError) as raised:
        asked(*texts, **more)
    (error, *_) = raised.value.errors()
    return str(error["loc"][0]), str(error["ctx"]["error"])


@pytest.mark.parametrize(
    ("text", "name", "rendition"),
    [
        ("print", "print", FULL),
        ("mls", "mls", Rendition(preview=False, max_width=2048, quality=80)),
        ("web", "web", Rendition(format="webp")),
        ("print,quality=85", "print", Rendition(preview=False, quality=85)),
        ("mls, max_width=1600", "mls", Rendition(preview=False, max_width=1600, quality=80)),
        ("flyer,format=png,scale=0.5", "flyer", Rendition(format="png", scale=0.5)),
        ("flyer,preview=false", "flyer", FULL),
    ],
)
def test_a_rendition_is_a_preset_a_changed_one_or_ones_own(text: str, name: str, rendition: Rendition) -> None:
    """What is not said is the preset's, else the default."""
    options = asked(text, "other,quality=1")

    assert options.renditions == {name: rendition, "other": Rendition(quality=1)}


def test_an_operator_has_presets_of_their_own() -> None:
    """Beside ours, or in their place."""
    own = {"flyer": {"preview": False, "max_width": 1200}, "mls": {"quality": 70}}

    options = asked("flyer", "mls", "web", own=own)

    assert options.renditions == {
        "flyer": Rendition(preview=False, max_width=1200),
        "mls": Rendition(quality=70),
        "web": Rendition(format="webp"),
    }


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        ({"flyer": 1200}, "flyer: must be an object with format, quality, preview, max_width, scale"),
        ({"flyer": {"width": 1200}}, "flyer: must be an object with format, quality, preview, max_width, scale"),
        ({"flyer": {"quality": 91}}, "flyer: quality must be a whole number from 1 to 90"),
        ({"Flyer": {}}, "Flyer: a rendition's name must be 1 to 32 of a-z, 0-9 and -"),
    ],
)
def test_a_preset_that_cannot_be_used_is_named(own: dict[str, Any], reason: str) -> None:
    """For whoever starts the service."""
    with pytest.raises(ValueError, match=f"^{reason}$"):
        read_presets(own)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("quality", True, "quality must be a whole number from 1 to 90"),
        ("quality", "85", "quality must be a whole number from 1 to 90"),
        ("preview", 0, "preview must be true or false"),
        ("preview", "false", "preview must be true or false"),
        ("scale", "0.5", "scale must be a number of more than 0 and at most 1"),
        ("max_width", 1.5, "max_width must be a whole number of at least 1"),
    ],
)
def test_values_of_an_operators_presets_are_of_their_kind(key: str, value: object, reason: str) -> None:
    """They are JSON: `true` is no number, and 0 no truth value."""
    with pytest.raises(ValueError, match=f"flyer: {reason}"):
        read_presets({"flyer": {key: value}})

    assert read_presets({"flyer": {"preview": False, "quality": 85, "scale": 1}})["flyer"].scale == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("flyer", "must be print, mls, web, or name,key=value,... with format, quality, preview, max_width, scale"),
        ("flyer,width=3", "after the name come key=value, where key is format, quality, preview, max_width, scale"),
        (
            "flyer,dev_mode=true",
            "after the name come key=value, where key is format, quality, preview, max_width, scale",
        ),
        ("flyer,quality", "after the name come key=value, where key is format, quality, preview, max_width, scale"),
        ("flyer,quality=1,quality=2", "quality is given twice for one rendition"),
        ("flyer,quality=91", "quality must be a whole number from 1 to 90"),
        ("flyer,max_width=1_000", "max_width must be a whole number of at least 1"),
        ("flyer,scale=0", "scale must be a number of more than 0 and at most 1"),
        ("flyer,format=gif", "format must be jpeg, png, webp, avif or jxl"),
        ("Flyer,quality=1", "a rendition's name must be 1 to 32 of a-z, 0-9 and -"),
        (f"{'a' * 33},quality=1", "a rendition's name must be 1 to 32 of a-z, 0-9 and -"),
        ("../x,quality=1", "a rendition's name must be 1 to 32 of a-z, 0-9 and -"),
        (",quality=1", "a rendition's name must be 1 to 32 of a-z, 0-9 and -"),
        ("con,quality=1", "no rendition can be named con"),
        ("lpt1,quality=1", "no rendition can be named lpt1"),
        ("originals,quality=1", "no rendition can be named originals"),
        ("original,quality=1", "no rendition can be named original"),
    ],
)
def test_what_is_no_rendition_is_refused_with_what_is(text: str, reason: str) -> None:
    """In one line."""
    assert refusal(text) == ("rendition", reason)


def test_at_most_five_each_with_its_name() -> None:
    """Each has a folder."""
    five = [f"r{number},quality={number}" for number in range(1, 6)]

    assert len(asked(*five).renditions) == 5
    assert refusal(*five, "web") == ("rendition", "at most 5 can be given")
    assert refusal("print", "print,quality=3") == (
        "rendition",
        "two have the same name; write name,key=value,... to name one yourself",
    )


@pytest.mark.parametrize(
    ("name", "value"), [("format", "png"), ("quality", 80), ("preview", True), ("max_width", 9), ("scale", 0.5)]
)
def test_what_one_rendition_is_made_of_is_not_beside_several(name: str, value: object) -> None:
    """It says how to write it; also where it says what holds anyway."""
    assert refusal("print", **{name: value}) == (
        "rendition",
        f"cannot be combined with {name}: write rendition=print,{name}=...",
    )


def test_test_mode_holds_for_all() -> None:
    """None of them buys."""
    options = asked("print", "mls", dev_mode=True)

    assert [rendition.buys for rendition in options.renditions.values()] == [False, False]


def test_an_only_one_is_as_if_it_had_no_name() -> None:
    """It has no folder."""
    assert asked("mls").renditions == Options(preview=False, max_width=2048, quality=80).renditions


def test_equal_requests_are_equal() -> None:
    """In whatever sequence, by a preset or in full, and as a job keeps them, whatever the presets are by then."""
    first, second = asked("print", "web"), asked("web,format=webp", "print,preview=false")

    assert first == second
    assert Options.model_validate(first.model_dump(mode="json", exclude_defaults=True)) == first
    assert [one.text for one in first.rendition] == ["print,format=jpeg,preview=false", "web,format=webp,preview=true"]
    again = asked(*(one.text for one in first.rendition), own={"print": {"quality": 3}, "web": {}})
    assert again.renditions["web"] == first.renditions["web"]


@pytest.mark.parametrize("given", [{"name": "print"}, 5, None])
def test_callers_write_it_as_text(given: object) -> None:
    """In a JSON body too: a `print` made of its parts would not be full size."""
    with pytest.raises(ValidationError, match="valid string"):
        Options.model_validate({"rendition": [given]}, context={PRESETS_OF_CONTEXT: read_presets({})})


def test_it_is_read_from_text_only_once() -> None:
    """What was read is taken as it is."""
    made = NamedRendition.model_validate("print,quality=85")

    assert NamedRendition.model_validate(made.model_dump()) == made
