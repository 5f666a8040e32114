"""The query of a download: what goes upstream, and what is refused."""

import pytest
from multidict import CIMultiDict

from tests.support.client import Params, Service, StartService
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream

PATH = f"/v1/orders/{ORDER}/images"


@pytest.fixture(autouse=True)
def one_image(upstream: FakeUpstream) -> None:
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg()


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({}, {"preview": "true", "format": "jpeg"}),
        ({"preview": "false"}, {"preview": "false"}),
        ({"preview": "true"}, {"preview": "true"}),
        ({"format": "webp"}, {"format": "webp"}),
        ({"quality": "1"}, {"quality": "1"}),
        ({"quality": "90", "format": "png"}, {"quality": "90", "format": "png"}),
        ({"max_width": "640"}, {"max_width": "640"}),
    ],
)
async def test_rendering_options_reach_upstream(
    upstream: FakeUpstream, service: Service, asked: dict[str, str], sent: dict[str, str]
) -> None:
    """Options are passed on; `preview` is always explicit, in lower case."""
    answer = await service.ask(PATH, params=asked)

    (request,) = upstream.requests("a")
    assert answer.status == 200
    assert request.query.items() >= ({"preview": "true"} | sent).items()


@pytest.mark.parametrize("asked", ["avif", "jxl"])
async def test_a_format_that_the_api_version_does_not_have_is_refused(
    upstream: FakeUpstream, start_service: StartService, asked: str
) -> None:
    """It says which version has it; with that version the format is passed on."""
    old = await start_service(autoenhance_api_version="2025-05-08")
    refused = await old.ask(PATH, params={"format": asked})
    new = await start_service(autoenhance_api_version="2026-10-01")
    await new.ask(PATH, params={"format": asked})

    assert (refused.status, refused.problem["parameter"]) == (400, "format")
    assert "2026-10-01" in refused.problem["detail"]
    assert [request.query["format"] for request in upstream.requests("a")] == [asked]


@pytest.mark.parametrize(
    ("asked", "sent"), [("0.5", "0.5"), (".50", "0.5"), ("1", "1"), ("0.12345678", "0.12345678"), ("1e-7", "0.0000001")]
)
async def test_scale_reaches_upstream(upstream: FakeUpstream, service: Service, asked: str, sent: str) -> None:
    """`scale` keeps its value to the last digit, and is written plainly."""
    await service.download(scale=asked)

    (request,) = upstream.requests("a")
    assert request.query["scale"] == sent


async def test_what_was_not_asked_for_is_left_to_upstream(upstream: FakeUpstream, service: Service) -> None:
    """Without a request there is no `quality`, `max_width` or `scale` in the call."""
    await service.download()

    (request,) = upstream.requests("a")
    assert request.query.keys().isdisjoint({"quality", "max_width", "scale", "image", "wait", "delivery"})


@pytest.mark.parametrize(("dev_mode", "header"), [("true", "true"), ("false", None)])
async def test_dev_mode_is_a_header_upstream(
    upstream: FakeUpstream, service: Service, dev_mode: str, header: str | None
) -> None:
    """`dev_mode` becomes `x-dev-mode: true`, and nothing when off."""
    await service.download(dev_mode=dev_mode)

    (request,) = upstream.requests("a")
    assert request.headers.get("x-dev-mode") == header


async def test_every_api_call_carries_key_version_and_open_accept(upstream: FakeUpstream, service: Service) -> None:
    """Upstream knows who asks and for which version; the image may be of any type, without content coding."""
    await service.download()

    wanted = {"x-api-key": "key-of-the-account-5c02", "x-api-version": "2025-05-08", "Accept": "*/*"}
    assert all(request.headers.items() >= CIMultiDict(wanted).items() for request in upstream.received)
    (request,) = upstream.requests("a")
    assert request.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("quality", "91"),
        ("quality", "0"),
        ("quality", "high"),
        ("quality", "80.5"),
        ("quality", "8_0"),
        ("quality", "80.0"),
        ("quality", ""),
        ("format", "jpg"),
        ("format", "JPEG"),
        ("preview", "maybe"),
        ("dev_mode", "2"),
        ("scale", "2"),
        ("scale", "-0.1"),
        ("scale", "0"),
        ("scale", "-0.0"),
        ("scale", "nan"),
        ("max_width", "0"),
        ("max_width", "1e3"),
        ("wait", "later"),
        ("wait_timeout", "-1"),
        ("wait_timeout", "inf"),
        ("wait_timeout", "nan"),
        ("on_failure", "ignore"),
        ("delivery", "post"),
        ("foo", "1"),
        ("Quality", "80"),
        ("image_id", "a"),
    ],
)
async def test_a_parameter_that_cannot_be_used_is_named(
    upstream: FakeUpstream, service: Service, name: str, value: str
) -> None:
    """400, the document says which parameter, and upstream hears nothing."""
    answer = await service.ask(PATH, params={name: value})

    assert answer.status == 400
    assert answer.problem["code"] == "invalid_parameter"
    assert name in answer.problem["detail"]
    assert upstream.received == []


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("qualty", "qualty: unknown parameter; perhaps you mean quality."),
        ("Quality", "Quality: unknown parameter; perhaps you mean quality."),
        ("image_id", "image_id: unknown parameter; perhaps you mean image."),
        ("zoom", "zoom: unknown parameter."),
        ("quality", "quality: must be a whole number from 1 to 90, not 500."),
        ("scale", "scale: must be a number of more than 0 and at most 1, not 500."),
    ],
)
async def test_a_refused_parameter_is_a_sentence(service: Service, name: str, sentence: str) -> None:
    """A slip of the pen is told with the name that was meant, a wrong value with what is allowed."""
    answer = await service.ask(PATH, params={name: "500"})

    assert answer.problem["detail"] == sentence


@pytest.mark.parametrize(
    "params",
    [
        [("quality", "80"), ("quality", "70")],
        [("format", "png"), ("format", "png")],
        [("preview", "true"), ("preview", "false")],
        [("wait", "true"), ("wait", "true")],
    ],
)
async def test_a_parameter_that_may_occur_once_is_refused_when_repeated(
    upstream: FakeUpstream, service: Service, params: Params
) -> None:
    """Nobody has to guess which of two values counts, least of all where one of them spends money."""
    answer = await service.ask(PATH, params=params)

    assert answer.status == 400
    assert next(iter(params))[0] in answer.problem["detail"]
    assert upstream.received == []


async def test_an_image_that_is_not_in_the_order_is_refused(upstream: FakeUpstream, service: Service) -> None:
    """One wrong id refuses the whole request, and no image is fetched."""
    answer = await service.ask(f"{PATH}?image=a&image=stranger")

    assert (answer.status, answer.problem["code"]) == (400, "unknown_image")
    assert "stranger" in answer.problem["detail"]
    assert upstream.image_calls == 0


async def test_options_make_an_image_another_image(upstream: FakeUpstream, service: Service) -> None:
    """A preview is not served to who asks for full size: each rendering is fetched by itself."""
    upstream.images["a"] = [jpeg(1), jpeg(2)]

    preview = await service.download(preview="true")
    full = await service.download(preview="false")

    assert preview.members["a.jpg"] == jpeg(1)
    assert full.members["a.jpg"] == jpeg(2)
