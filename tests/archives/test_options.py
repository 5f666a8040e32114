"""The options of a download or a job."""

from typing import Any

import pytest
from pydantic import ValidationError

from service.archives.options import ImageOptions, Options, kept_options
from service.upstream.models import Rendition


@pytest.mark.parametrize(
    "names", ["{name}", "{seq}", "{seq}_{name}", "{order} {seq}", "{image_id}", "photo", "a.{seq}"]
)
def test_names_are_made_of_four_words_and_text(names: str) -> None:
    """Whatever else stands around them."""
    assert Options(names=names).names == names


@pytest.mark.parametrize(
    "names", ["{", "}", "{seq", "{SEQ}", "{seq:3}", "{{seq}}", "{address}", "{seq}/{name}", "a\\b", " "]
)
def test_any_other_template_is_refused_with_what_is_allowed(names: str) -> None:
    """No folders among them: those are for renditions."""
    with pytest.raises(ValidationError) as raised:
        Options(names=names)

    (error,) = raised.value.errors()
    allowed = "must be made of {seq}, {name}, {order}, {image_id} and text without braces and slashes"
    assert (error["loc"], str(error["ctx"]["error"])) == (("names",), allowed)


@pytest.mark.parametrize("names", ["", "a" * 101])
def test_a_template_has_a_length(names: str) -> None:
    """Of at least a character, and not of pages."""
    with pytest.raises(ValidationError):
        Options(names=names)


def test_a_plan_keeps_what_decides_on_its_images() -> None:
    """Not how it is delivered; and how long is waited only where there is a wait."""
    asked = Options(
        quality=80, image=("b", "a", "b"), on_failure="strict", delivery="complete", refresh=True, wait_timeout=5
    )

    assert asked.of_plan == Options(quality=80, image=("a", "b"))
    assert Options(wait=True, wait_timeout=5).of_plan == Options(wait=True, wait_timeout=5)


@pytest.mark.parametrize(
    ("given", "parameter"),
    [
        ({"part": 1, "image": ("a",)}, "part"),
        ({"part": 1, "since": "0" * 32}, "since"),
        ({"part": 0}, "part"),
        ({"since": "0" * 33}, "since"),
        ({"since": "A" * 32}, "since"),
        ({"wait_timeout": 3601}, "wait_timeout"),
        ({"wait_timeout": float("nan")}, "wait_timeout"),
        ({"max_credits": -1}, "max_credits"),
        ({"max_credits": "1_0"}, "max_credits"),
        ({"max_width": "5.0"}, "max_width"),
        ({"scale": 0}, "scale"),
        ({"scale": 1.1}, "scale"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(given: dict[str, Any], parameter: str) -> None:
    """Also of two that exclude each other."""
    with pytest.raises(ValidationError) as raised:
        Options(**given)

    assert [error["loc"] for error in raised.value.errors()] == [(parameter,)]


def test_the_outermost_values_are_taken() -> None:
    """They are what the reference says."""
    options = Options(part=1, wait_timeout=3600, max_credits="0", scale=1)

    assert (options.part, options.wait_timeout, options.max_credits, options.scale) == (1, 3600, 0, 1)
    assert Options(wait_timeout=0, since="0123456789abcdef" * 2).wait_timeout == 0


def test_equal_choices_are_equal() -> None:
    """However often, and in whatever sequence, something is named."""
    options = Options(image=("b", "a", "b"), include=("original", "manifest", "original"))

    assert (options.subset, options.include) == (("a", "b"), ("manifest", "original"))


@pytest.mark.parametrize(
    ("given", "preview"),
    [({}, True), ({"preview": False}, False), ({"rendition": ["web", "print"]}, False), ({"rendition": ["web"]}, True)],
)
def test_originals_are_full_size_where_anything_is(given: dict[str, Any], preview: bool) -> None:
    """Who has bought an image may have its original; test mode holds for it too."""
    original = Options(include=("original",), dev_mode=True, **given).original

    assert original is not None
    assert (original.preview, original.dev_mode) == (preview, True)


@pytest.mark.parametrize(
    ("given", "files"),
    [({}, 1), ({"include": ("original",)}, 2), ({"rendition": ["web", "print"], "include": ("original",)}, 3)],
)
def test_each_image_has_a_file_for_each_way_it_is_wanted(given: dict[str, Any], files: int) -> None:
    """A manifest is none of an image."""
    assert Options(**given).files_per_image == files
    assert Options(include=("manifest",)).files_per_image == 1


@pytest.mark.parametrize("scale", [0, 0.0, 0.5, None])
def test_a_scale_that_an_earlier_version_took_is_carried_on(scale: float | None) -> None:
    """No request can have it any more."""
    options = kept_options({"format": "png", "scale": scale})

    assert (options.format, options.scale) == ("png", scale)


class TestOneImage:
    """What is asked of one image by itself."""

    def test_a_named_rendition_is_what_it_stands_for(self) -> None:
        """Test mode, and what it is for, stay beside it."""
        wanted = ImageOptions(rendition="print,quality=85", dev_mode=True, download=True).resolved

        assert wanted.plain == Rendition(preview=False, quality=85, dev_mode=True)
        assert (wanted.download, wanted.rendition) == (True, None)
        assert ImageOptions(quality=3).resolved == ImageOptions(quality=3)

    @pytest.mark.parametrize(
        ("given", "parameter"),
        [
            ({"rendition": ["web", "mls"]}, "rendition"),
            ({"include": ["original", "original"]}, "include"),
            ({"rendition": "web", "quality": 3}, "rendition"),
            ({"include": "original", "quality": 3}, "include"),
            ({"include": "original", "rendition": "web"}, "include"),
        ],
    )
    def test_what_excludes_each_other_is_refused(self, given: dict[str, Any], parameter: str) -> None:
        """Several of what there is one of, and what a rendition or an original has decided."""
        with pytest.raises(ValidationError) as raised:
            ImageOptions(**given)

        assert [error["loc"] for error in raised.value.errors()] == [(parameter,)]

    def test_of_an_original_the_size_can_be_chosen(self) -> None:
        """As it was uploaded, or a preview of that."""
        assert not ImageOptions(include=["original"], preview=False).preview


def test_a_refusal_shows_how_it_is_written() -> None:
    """With the first of the renditions, and what was given beside it."""
    with pytest.raises(ValidationError) as raised:
        Options(rendition=["web", "print"], quality=3)

    assert "write rendition=print,quality=..." in str(raised.value)
