"""The options of a download or a job."""

import pytest
from pydantic import ValidationError

from service.archives.options import Options


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
