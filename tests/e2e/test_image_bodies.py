"""What counts as an image: its first bytes decide, its length must be met, and text is never one."""

import re

import pytest
from aiohttp import web

from tests.support.client import Service, StartService
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order, png
from tests.support.upstream import FakeUpstream, Reply, Script

HTML = b"<!doctype html><html><body>Please sign in</body></html>"


@pytest.fixture(autouse=True)
def two_images(upstream: FakeUpstream) -> None:
    """`a` is well, `b` is what the test makes of it."""
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images["a"] = jpeg(1)


@pytest.mark.parametrize(
    "script",
    [
        Reply(body=jpeg(2), content_type="application/octet-stream"),
        Reply(body=jpeg(2), content_type="binary/octet-stream"),
        Reply(body=jpeg(2), content_type="image/png"),
        Reply(body=jpeg(2), content_type="text/plain"),
        Reply(body=jpeg(2), content_type="text/html"),
        Reply(body=jpeg(2), content_type="application/json"),
        Reply(body=jpeg(2), content_type="application/x-www-form-urlencoded"),
        Reply(body=jpeg(2), content_type="application/force-download"),
        Reply(body=jpeg(2), content_type="multipart/form-data"),
        Reply(body=jpeg(2), content_type='"image/jpeg"'),
        Reply(body=jpeg(2), content_type="jpg"),
        Reply(body=jpeg(2), chunked=True),
        Reply(body=jpeg(2), chunked=True, content_type="application/octet-stream"),
    ],
    ids=lambda reply: f"{reply.content_type} chunked={reply.chunked}",
)
async def test_an_image_is_one_whatever_type_of_bytes_it_is_called(
    upstream: FakeUpstream, service: Service, script: Script
) -> None:
    """Its bytes decide, not what it is called; S3 often says octet-stream, some answers have no length."""
    upstream.images["b"] = script

    answer = await service.download()

    assert answer.members == {"a.jpg": jpeg(1), "b.jpg": jpeg(2)}


@pytest.mark.parametrize(
    "script",
    [
        Reply(body=HTML, content_type="text/html"),
        Reply(body=HTML, content_type="image/jpeg"),
        Reply(body=HTML, content_type="application/octet-stream"),
        Reply(body=b'{"image_url": "http://127.0.0.1/x.jpg"}', content_type="application/json"),
        Reply(body=b"<svg xmlns='http://www.w3.org/2000/svg'/>", content_type="image/svg+xml"),
        Reply(body=b"", content_type="image/jpeg"),
        Reply(body=b"", content_type="image/jpeg", chunked=True),
        Reply(body=b"\xff\xd8", content_type="image/jpeg"),
        Reply(body=b"\x00" * 4_000, content_type="image/jpeg"),
    ],
    ids=lambda reply: f"{reply.content_type} {reply.body[:12]!r}",
)
async def test_what_is_no_image_is_refused(upstream: FakeUpstream, service: Service, script: Script) -> None:
    """It is reported with its code, and the other image is delivered."""
    upstream.images["b"] = script

    answer = await service.download()

    assert answer.images == {"a.jpg": jpeg(1)}
    assert "not_an_image" in answer.report


@pytest.mark.parametrize("status", [201, 202, 204, 206])
async def test_only_200_brings_an_image(upstream: FakeUpstream, service: Service, status: int) -> None:
    """Another success, asked for or not, is none."""
    upstream.images["b"] = Reply(body=b"" if status == 204 else jpeg(2), status=status, content_type="image/jpeg")

    answer = await service.download()

    assert answer.images == {"a.jpg": jpeg(1)}


async def test_a_truncated_image_is_fetched_again(upstream: FakeUpstream, service: Service) -> None:
    """A body shorter than announced is no image; the next attempt brings it whole."""
    upstream.images["b"] = [Reply(body=jpeg(2, size=50_000), cut_after=20_000), jpeg(2, size=50_000)]

    answer = await service.download()

    assert answer.members["b.jpg"] == jpeg(2, size=50_000)


async def test_an_image_that_stays_truncated_is_missing(upstream: FakeUpstream, service: Service) -> None:
    """After three attempts it is reported, and the other image is fine."""
    upstream.images["b"] = Reply(body=jpeg(2, size=50_000), cut_after=20_000)

    answer = await service.download()

    assert answer.images == {"a.jpg": jpeg(1)}
    assert "truncated" in answer.report
    assert upstream.calls("b") == 3


async def test_a_broken_body_is_resumed_where_upstream_can(upstream: FakeUpstream, service: Service) -> None:
    """With a strong entity tag only the rest is asked for, guarded by `If-Range`."""
    body = jpeg(2, size=90_000)
    upstream.images["b"] = [Reply(body=body, etag='"v1"', cut_after=40_000), Reply(body=body, etag='"v1"')]

    answer = await service.download()

    _, second = upstream.requests("b")
    assert answer.members["b.jpg"] == body
    assert second.headers["If-Range"] == '"v1"'
    start = re.fullmatch(r"bytes=(\d+)-", second.headers["Range"])
    assert start is not None
    assert 0 < int(start[1]) <= 40_000


@pytest.mark.parametrize("tag", ['W/"v1"', '"v2"'])
async def test_two_versions_of_an_image_are_never_joined(upstream: FakeUpstream, service: Service, tag: str) -> None:
    """A body that broke off and came back as another image is the other image, whole."""
    first, second = jpeg(2, size=90_000), jpeg(3, size=90_000)
    upstream.images["b"] = [Reply(body=first, etag=tag, cut_after=40_000), Reply(body=second, etag='"v9"')]

    answer = await service.download()

    assert answer.members["b.jpg"] == second


async def test_another_format_than_asked_is_named_for_what_it_is(upstream: FakeUpstream, service: Service) -> None:
    """A PNG for `format=jpeg`, called a JPEG by its type, becomes a `.png`."""
    upstream.images["b"] = Reply(body=png(2), content_type="image/jpeg")

    answer = await service.download(format="jpeg")

    assert answer.members == {"a.jpg": jpeg(1), "b.png": png(2)}


@pytest.mark.parametrize("image_id", ["../orders", "a b", "%2e%2e", "x?preview=false", "x#y", "家", "."])
async def test_an_odd_image_id_stays_one_segment_of_the_path(
    upstream: FakeUpstream, service: Service, image_id: str
) -> None:
    """Whatever upstream calls an image, the call for it is a download call and nothing else."""
    upstream.orders[ORDER] = order(["a", image_id])

    answer = await service.download()

    assert answer.images == {"a.jpg": jpeg(1)}
    paths = [request.path for request in upstream.received if "/orders/" not in request.path]
    assert all(path.startswith("/v3/images/") and path.endswith("/enhanced") for path in paths)
    assert all(request.query.get("preview") in (None, "true") for request in upstream.received)


async def test_an_image_that_can_never_fit_costs_no_other_archive(
    upstream: FakeUpstream, start_service: StartService
) -> None:
    """It announces more than one image may have: it fails by itself, and nothing is evicted for it."""
    service = await start_service(store_max_bytes=8 << 20)
    upstream.orders |= {ORDER: order(["a"]), OTHER_ORDER: order(["huge"], order_id=OTHER_ORDER)}
    upstream.images["huge"] = _five_gibibytes
    kept = await service.download()

    refused = await service.download(OTHER_ORDER)

    assert (refused.status, refused.problem["failures"][0]["code"]) == (422, "too_large")
    assert (await service.ask(f"/v1/archives/{kept.headers['X-Archive-Id']}")).body == kept.body


async def _five_gibibytes(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "image/jpeg", "Content-Length": str(5 << 30)})
    await response.prepare(request)
    await response.write(jpeg(2))
    return response
