"""What an overview says of an order: its counts, and the downloads that it takes. No service runs."""

from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from service.api.keys import SETTINGS
from service.api.orders import _document, _parts
from service.archives.options import Options
from service.images.blobs import Blob
from service.settings import Settings
from service.upstream.models import ImageState
from service.upstream.order_document import parse_order
from tests.support.plans import plan_of
from tests.support.samples import ORDER


def told(*states: ImageState, stored: str = "", is_truncated: bool = False, extension: str = "jpg") -> dict[str, Any]:
    """The document of images in these states, of which some are here, by their numbers."""
    plan = plan_of(*(str(number) for number in range(len(states))))
    images = tuple(replace(image, state=state) for image, state in zip(plan.images, states, strict=True))
    here = {f"{number}.0": Blob("c" * 64, 5, 6, extension) for number in stored}
    return _document(plan.model_copy(update={"images": images}), here, "/batch", is_truncated=is_truncated)


@pytest.mark.parametrize(
    ("state", "counted_as"),
    [
        (ImageState.READY, "ready"),
        (ImageState.PROCESSING, "processing"),
        (ImageState.WAITING, "processing"),
        (ImageState.UNKNOWN, "processing"),
        (ImageState.FAILED, "failed"),
        (ImageState.EXPIRED, "failed"),
    ],
)
def test_what_an_image_is_counted_as(state: ImageState, counted_as: str) -> None:
    """Beside one that is ready; an order is ready when none is waited for."""
    document = told(ImageState.READY, state)

    counts = {name: document[name] for name in ("ready", "processing", "failed")}
    expected = {"ready": 1, "processing": 0, "failed": 0}
    expected[counted_as] += 1
    assert (counts, document["total"]) == (expected, 2)
    assert document["status"] == ("processing" if counted_as == "processing" else "ready")
    assert len(document["failures"]) == (counted_as == "failed")


@pytest.mark.parametrize("state", list(ImageState))
def test_what_is_here_is_not_missing(state: ImageState) -> None:
    """Whatever Autoenhance says of it now."""
    document = told(ImageState.READY, state, stored="1")

    assert (document["downloaded"], document["bytes"], document["failed"], document["failures"]) == (1, 5, 0, [])
    assert [image["bytes"] for image in document["images"]] == [None, 5]
    assert document["images"][1]["link"] == "/batch/v1/orders/o/images/1"


def test_what_is_here_has_the_name_of_what_it_is() -> None:
    """As in the ZIP: by its bytes, not by the format that was asked for."""
    document = told(ImageState.READY, ImageState.READY, stored="1", extension="heic")

    assert [image["file_name"].rpartition(".")[2] for image in document["images"]] == ["jpg", "heic"]


@pytest.mark.parametrize(("anew", "to_buy"), [(False, 1), (True, 2)])
def test_what_is_fetched_anew_is_bought_anew(anew: bool, to_buy: int) -> None:
    """As `max_credits` counts it: what is here saves a credit, unless it is to be fetched past that."""
    plan = plan_of("a", "b").model_copy(update={"options": Options(preview=False)})
    here = {"a.0": Blob("c" * 64, 5, 6, "jpg")}

    document = _document(plan, here, "", is_truncated=False, is_anew=anew)

    assert (document["to_buy"], document["downloaded"]) == (to_buy, 1)


def test_what_is_left_out_is_said() -> None:
    """Because the order has more images than are planned."""
    assert [told(ImageState.READY, is_truncated=is_so)["truncated"] for is_so in (True, False)] == [True, False]


@pytest.mark.parametrize(
    ("images", "query", "expected"),
    [
        (0, "", []),
        (3, "?part=1&image=a&quality=80", [(1, 3, "?quality=80")]),
        (10, "", [(1, 10, "")]),
        (11, "?quality=80&part=2", [(1, 10, "?quality=80&part=1"), (2, 1, "?quality=80&part=2")]),
        (20, "", [(1, 10, "?part=1"), (2, 10, "?part=2")]),
        (10, "?since=f", [(1, 10, "?since=f")]),
        (11, "?since=f", [(1, 10, "?part=1"), (2, 1, "?part=2")]),  # of a part there is no `since`
        (25, "", [(1, 10, "?part=1"), (2, 10, "?part=2"), (3, 5, "?part=3")]),
    ],
)
def test_which_downloads_an_order_takes(images: int, query: str, expected: list[tuple[int, int, str]]) -> None:
    """One, unless it has too many images; each with the options that were asked for, of its images all."""
    app = web.Application()
    app[SETTINGS] = Settings(_env_file=None, max_images_per_order=10, base_path="/batch")

    order = parse_order({"images": [{"image_id": str(number)} for number in range(images)]})

    parts = _parts(make_mocked_request("GET", f"/{query}", app=app), ORDER, order)

    assert [(part["part"], part["images"], part["link"]) for part in parts] == [
        (part, count, f"/batch/v1/orders/{ORDER}/images{rest}") for part, count, rest in expected
    ]
