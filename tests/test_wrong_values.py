"""What is wrong with a value is said in our words."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from service.api.ask import Question
from service.api.links import NewLink
from service.api.session import Login
from service.archives.options import Options
from service.settings import Settings
from service.wrong_values import wrong_values

MODELS: list[type[BaseModel]] = [Settings, Options, Question, NewLink, Login]
FIELDS = [(model, name) for model in MODELS for name in model.model_fields]
# What pydantic's own words begin with.
FOREIGN = ("Input", "Value", "String", "Field", "Extra", "List", "Tuple", "value is not")
HOPELESS: list[Any] = ["", "?", "-1", "1e999", "x" * 5000, 10**30, 0.5, True, None, [], {}, [{}], object()]


@pytest.mark.parametrize(("model", "name"), FIELDS, ids=lambda value: getattr(value, "__name__", value))
def test_a_field_says_what_it_takes(model: type[BaseModel], name: str) -> None:
    """Whatever is wrong with its value: never in the words of the library that found it."""
    for value in HOPELESS:
        if model is Settings and not isinstance(value, str):
            continue  # an environment has nothing else
        said = complaints(model, {name: value})
        assert not [words for words in said.values() if words.startswith(FOREIGN)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"quality": "95"}, "must be a whole number from 1 to 90"),
        ({"quality": "high"}, "must be a whole number from 1 to 90"),
        ({"max_width": "0"}, "must be a whole number of at least 1"),
        ({"format": "tiff"}, "must be jpeg, png, webp, avif or jxl"),
        ({"wait": "long"}, "must be true or false"),
        ({"foo": "1"}, "unknown parameter"),
    ],
)
def test_what_is_allowed_is_said(given: dict[str, str], expected: str) -> None:
    """A caller can put it right without the docs."""
    assert complaints(Options, given) == {next(iter(given)): expected}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("image_timeout", "0", "must be a number of more than 0"),
        ("store_max_bytes", "0", "must be a whole number of more than 0"),
        ("order_freshness", "-1", "must be a number of at least 0"),
        ("max_credits_per_day", "x", "must be a whole number of at least 0"),
        ("sentry_traces_sample_rate", "2", "must be a number from 0 to 1"),
        ("archive_ttl", "0", "must be a number of more than 0 and at most 3153600000"),
    ],
)
def test_the_numbers_that_a_setting_takes_are_said(name: str, value: str, expected: str) -> None:
    """Whole or not, and where they end."""
    assert complaints(Settings, {"_env_file": None, name: value}) == {name: expected}


def test_each_field_is_told_of_once() -> None:
    """However much is wrong with it; and every field that is wrong."""
    with pytest.raises(ValidationError) as refused:
        Options(include=["x", "y"], quality=0)

    assert [name for name, _ in wrong_values(Options, refused.value, what="parameter")] == ["quality", "include"]


def complaints(model: type[BaseModel], given: dict[str, Any]) -> dict[str, str]:
    """What is wrong, by field."""
    try:
        model(**given)
    except ValidationError as error:
        return dict(wrong_values(model, error, what="parameter"))
    return {}
