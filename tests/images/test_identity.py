"""What makes two images the same, and what does not."""

from typing import Any

import pytest

from service.images.identity import digest, image_key, image_variant, split_key
from service.images.legacy import has_legacy_name, legacy_key
from service.upstream.models import ENHANCEMENT_SETTINGS, ImageRecord, Original, Rendition
from service.upstream.order_document import parse_order


def record(**fields: Any) -> ImageRecord:
    (image,) = parse_order({"images": [{"image_id": "a", "status": "processed"} | fields]}).images
    return image


def variant(**fields: Any) -> str:
    return image_variant(record(**fields), Rendition())


# Whatever an image carries that says nothing about the picture; each set on the image itself.
VOLATILE: dict[str, Any] = {
    "image_name": "renamed.jpg",
    "name": "renamed.jpg",
    "status": "completed",
    "enhanced": True,
    "error": "a word",
    "downloaded": True,
    "rating": 5,
    "scene": "kitchen",
    "metadata": {"width": 4_000},
    "url": "https://assets.example/a?signature=1",
    "preview_url": "https://assets.example/a?signature=2",
    "download_count": 7,
    "views": 12,
    "a_field_of_tomorrow": {"x": [1]},
    # Marks of change make another generation, not another variant.
    "status_reason": "The sky was replaced.",
    "date_added": "2026-03-02T09:15:04",
    "updated_at": "2026-03-02T09:15:04",
    "last_updated_at": 1_772_442_904,
    "created_at": "2026-03-02T09:15:04",
    "version": 3,
}


@pytest.mark.parametrize("field", VOLATILE)
def test_what_is_volatile_changes_no_key(field: str) -> None:
    """Neither when it comes nor when it changes: nothing is bought again for it."""
    plain = variant()

    assert variant(**{field: VOLATILE[field]}) == plain
    assert variant(**{field: "something else"}) == plain


@pytest.mark.parametrize("setting", sorted(ENHANCEMENT_SETTINGS))
def test_a_setting_makes_another_image(setting: str) -> None:
    """Each value another one; null is as good as absent."""
    values: list[object] = ["one", "other", True, 7, {"strength": 1}]

    variants = {variant(), *(variant(**{setting: value}) for value in values)}

    assert len(variants) == 1 + len(values)
    assert variant(**{setting: None}) == variant()


def test_the_sequence_and_the_way_of_writing_settings_mean_nothing() -> None:
    """Equal settings are equal."""
    assert variant(upscale=1.0, finetune_settings={"a": 1, "b": 2}) == variant(
        finetune_settings={"b": 2, "a": 1}, upscale=1
    )


@pytest.mark.parametrize(
    "rendition",
    [
        {"format": "png"}, {"quality": 80}, {"preview": False}, {"dev_mode": True}, {"max_width": 480}, {"scale": 0.5},
    ],
    ids=str,
)  # fmt: skip
def test_another_rendition_is_another_image(rendition: dict[str, Any]) -> None:
    """Every option of it counts."""
    assert image_variant(record(), Rendition(**rendition)) != variant()


def test_an_original_is_what_was_uploaded_however_it_was_enhanced() -> None:
    """In full size or as a preview, with a watermark or without; it is none of the enhanced images."""
    kinds: list[dict[str, Any]] = [{}, {"preview": False}, {"dev_mode": True}]
    originals = [image_variant(record(), Original(**kind)) for kind in kinds]

    assert len({variant(), *originals}) == 1 + len(kinds)
    assert [image_variant(record(upscale=True), Original(**kind)) for kind in kinds] == originals


def test_another_image_is_another_image() -> None:
    """Its id counts."""
    assert variant(image_id="b") != variant(image_id="a")


@pytest.mark.parametrize("generation", [0, 1, 12])
def test_a_key_is_a_variant_with_its_generation(generation: int) -> None:
    """And can be told apart again."""
    key = image_key(variant(), generation)

    assert split_key(key) == (variant(), generation)


def test_a_key_without_a_generation_is_of_the_first() -> None:
    """As those of version 0 are, in plans that are kept."""
    assert split_key("0" * 32) == ("0" * 32, 0)


def test_a_digest_is_the_same_in_every_process() -> None:
    """It is stored for years: this value must not change."""
    assert digest("a", {"b": 1, "a": None}, ["x"]) == "58f349d95332cf3d4a487e77d661aa70"
    assert digest("a", {"a": None, "b": 1}, ["x"]) == "58f349d95332cf3d4a487e77d661aa70"


@pytest.mark.parametrize(
    ("rendition", "expected"),
    [
        (Rendition(), "b8a755eb63f38ea9eac0f9da64f3e08f"),
        (
            Rendition(format="png", quality=80, preview=False, max_width=480, scale=0.5),
            "c528052e83c97657137dc140dd66b932",
        ),
        (Original(preview=False), "537e4f018f901f5a627c80908352f369"),
    ],
    ids=["plain", "with options", "original"],
)
def test_a_variant_is_the_same_in_every_version(rendition: Rendition, expected: str) -> None:
    """Images that are stored would not be found under another one, and be bought again."""
    assert image_variant(record(upscale=True), rendition) == expected


class TestFirstEdition:
    @pytest.mark.parametrize(
        ("entry", "preview", "bought"),
        [
            (
                {
                    "image_id": "a", "image_name": "kitchen.jpg", "status": "processed", "date_added": 1_772_442_904,
                    "enhance_type": "property", "sky_replacement": True, "ai_version": "5.x", "upscale": False,
                    "privacy": None, "url": "https://assets.example/a", "order_id": "o-1", "rating": 3,
                    "finetune_settings": {"b": 1.5, "a": [1, "ü"]},
                },
                "844089b3ee7f119ecc379958ec2d5d35",
                "a5670b950197b82c21956f2ca51fbc83",
            ),
            (
                {"id": "b", "name": "bath.jpg", "enhanced": True, "error": None, "version": 3, "user_id": "u"},
                "c3f637af0753cd41a0c64ee216edddff",
                "5c00170c9eec6d7cdd40a8c0f145e4c8",
            ),
            (
                {"image_id": "c", "status": "processed"},
                "ea20f3735bf916bb60cc90e9826d5ca8",
                "18fde8aee0b8c403ad12f60c9163f3e4",
            ),
        ],
        ids=["all fields", "other names", "bare"],
    )  # fmt: skip
    def test_its_keys_are_made_as_it_made_them(self, entry: dict[str, Any], preview: str, bought: str) -> None:
        """These were computed by its code."""
        (image,) = parse_order({"images": [entry]}).images

        assert legacy_key(image, Rendition(), 0) == preview
        assert legacy_key(image, Rendition(preview=False, format="png", quality=80), 2) == bought

    def test_its_blobs_are_known_by_the_length_of_their_names(self) -> None:
        """128 bits then, 256 now."""
        assert has_legacy_name("0" * 32)
        assert not has_legacy_name("0" * 64)
