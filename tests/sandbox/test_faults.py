"""Faults: each kind does on the wire what it says, to the requests it is meant for, as often as told."""

from email.utils import parsedate_to_datetime

import pytest
from aiohttp import (
    ClientConnectionError,
    ClientPayloadError,
    ClientTimeout,
    NonHttpUrlRedirectClientError,
    TooManyRedirects,
)

from service.sandbox import FaultKind, ImageSpec

from .conftest import Caller, eventually

SIZE = 600_000


def add_image(caller: Caller) -> str:
    return caller.control.add_order([ImageSpec(size=SIZE)]).images[0].image_id


async def body_until_failure(caller: Caller, image_id: str, error: type[Exception], timeout: float = 5) -> bytes:
    """What arrives of an image's bytes before the download fails with `error`."""
    link = await caller.link(f"/images/{image_id}/enhanced")
    received = bytearray()

    async def download() -> None:
        async with caller.session.get(link, timeout=ClientTimeout(sock_read=timeout)) as response:
            assert response.status == 200
            async for chunk in response.content.iter_any():
                received.extend(chunk)

    with pytest.raises(error):
        await download()
    return bytes(received)


@pytest.mark.parametrize("status", [401, 402, 403, 404, 422, 429, 500, 503])
async def test_any_status_can_be_scripted(caller: Caller, status: int) -> None:
    """An error document of that status, once."""
    image_id = add_image(caller)
    caller.control.add_fault("status", status=status, image_id=image_id)

    answers = [await caller.call("GET", f"/images/{image_id}/enhanced") for _ in range(2)]

    assert [answer.status for answer in answers] == [status, 302]
    assert answers[0].json()["detail"] == {}


async def test_retry_after_comes_as_seconds_or_as_a_date(caller: Caller) -> None:
    """Both forms of RFC 9110, and none at all."""
    caller.control.add_fault("status", status=429, retry_after=7)
    caller.control.add_fault("status", status=503, retry_after=7, retry_after_date=True)
    caller.control.add_fault("status", status=503)

    seconds, date, none = [await caller.call("GET", "/orders/") for _ in range(3)]

    assert seconds.headers["Retry-After"] == "7"
    assert parsedate_to_datetime(date.headers["Retry-After"]).tzinfo is not None
    assert (none.status, none.headers.get("Retry-After")) == (503, None)


async def test_a_reset_before_the_headers(caller: Caller) -> None:
    """The connection breaks instead of an answer."""
    image_id = add_image(caller)
    caller.control.add_fault("reset", image_id=image_id, times=2)  # aiohttp itself tries a GET twice

    with pytest.raises(ClientConnectionError):
        await caller.call("GET", f"/images/{image_id}/enhanced")


async def test_a_reset_in_the_body(caller: Caller) -> None:
    """So many right bytes, then a broken connection."""
    image_id = add_image(caller)
    caller.control.add_fault("reset", image_id=image_id, after_bytes=200_000)

    received = await body_until_failure(caller, image_id, ClientPayloadError)

    assert caller.control.expected(image_id).startswith(received)
    assert (caller.control.log[-1].sent, caller.control.log[-1].complete) == (200_000, False)


@pytest.mark.parametrize(
    ("kind", "after"), [("truncated", 1000), ("chunked_cut", 1000), ("truncated", None), ("chunked_cut", 0)]
)
async def test_a_body_can_end_early(caller: Caller, kind: str, after: int | None) -> None:
    """With a length that is not met, or chunks without a last one: half of it unless told otherwise."""
    image_id = add_image(caller)
    caller.control.add_fault(kind, image_id=image_id, after_bytes=after)

    received = await body_until_failure(caller, image_id, ClientPayloadError)

    assert received == caller.control.expected(image_id)[: SIZE // 2 if after is None else after]
    assert caller.control.counters.complete_downloads == {}


async def test_a_body_can_stall(caller: Caller) -> None:
    """Some bytes, then silence on an open connection."""
    image_id = add_image(caller)
    caller.control.add_fault("stall", image_id=image_id, after_bytes=1000)

    received = await body_until_failure(caller, image_id, TimeoutError, timeout=0.1)

    assert len(received) == 1000


async def test_a_black_hole_never_answers(caller: Caller) -> None:
    """Until the caller gives up; the sandbox still stops in time afterwards."""
    caller.control.add_fault("black_hole", operation="list_orders", times=None)

    with pytest.raises(TimeoutError):
        await caller.call("GET", "/orders/", timeout=ClientTimeout(total=0.1))


async def test_a_download_in_a_black_hole_ends_with_its_caller(caller: Caller) -> None:
    """What nobody waits for any more does not count as under way."""
    image_id = add_image(caller)
    caller.control.add_fault("black_hole", image_id=image_id)

    with pytest.raises(TimeoutError):
        await caller.call("GET", f"/images/{image_id}/enhanced", timeout=ClientTimeout(total=0.1))

    await eventually(lambda: caller.control.counters.in_flight == 0)


async def test_the_type_can_be_wrong(caller: Caller) -> None:
    """The right bytes under another type."""
    image_id = add_image(caller)
    caller.control.add_fault("wrong_type", image_id=image_id, content_type="text/plain")

    answer = await caller.fetch(f"/images/{image_id}/enhanced")

    assert (answer.content_type, answer.body) == ("text/plain", caller.control.expected(image_id))


async def test_the_bytes_can_be_wrong(caller: Caller) -> None:
    """A web page that says it is an image."""
    image_id = add_image(caller)
    caller.control.add_fault("wrong_bytes", image_id=image_id)

    answer = await caller.fetch(f"/images/{image_id}/enhanced")

    assert (answer.status, answer.content_type) == (200, "image/jpeg")
    assert answer.body.startswith(b"<!doctype html>")


@pytest.mark.parametrize(("after", "length"), [(None, SIZE // 2), (12, 12), (SIZE + 1, SIZE)])
async def test_a_picture_can_be_cut_at_its_source(caller: Caller, after: int | None, length: int) -> None:
    """The answer itself is whole: announced and sent are the same, ranges count in it, and it has its own tag."""
    image_id = add_image(caller)
    whole = await caller.fetch(f"/images/{image_id}/enhanced")
    caller.control.add_fault("incomplete", image_id=image_id, after_bytes=after, times=None)

    cut = await caller.fetch(f"/images/{image_id}/enhanced")
    url = await caller.link(f"/images/{image_id}/enhanced")
    async with caller.session.get(url, headers={"Range": "bytes=2-"}) as answer:
        rest = await answer.read()

    assert (cut.status, cut.headers["Content-Length"]) == (200, str(length))
    assert cut.body == whole.body[:length]
    assert cut.headers["ETag"] != whole.headers["ETag"]
    assert rest == cut.body[2:]


async def test_an_order_can_be_a_web_page_or_half_a_document(caller: Caller) -> None:
    """200 both times."""
    order_id = caller.control.add_order([ImageSpec()]).order_id
    caller.control.add_fault("html", operation="get_order")
    caller.control.add_fault("invalid_json", order_id=order_id)

    page, half = [await caller.call("GET", f"/orders/{order_id}") for _ in range(2)]

    assert (page.status, page.content_type) == (200, "text/html")
    assert (half.status, half.content_type) == (200, "application/json")
    with pytest.raises(ValueError, match="Unterminated"):
        half.json()


@pytest.mark.parametrize("kind", ["truncated", "chunked_cut"])
async def test_documents_can_be_cut_too(caller: Caller, kind: str) -> None:
    """Faults of the body strike an API call when its operation is named."""
    order_id = caller.control.add_order([ImageSpec()]).order_id
    caller.control.add_fault(kind, operation="get_order", after_bytes=20)

    with pytest.raises(ClientPayloadError):
        await caller.call("GET", f"/orders/{order_id}")


async def test_the_first_byte_can_be_late(caller: Caller) -> None:
    """The right answer, but not before the delay."""
    caller.control.add_fault("slow_first_byte", operation="list_orders", delay=0.2)

    with pytest.raises(TimeoutError):
        await caller.call("GET", "/orders/", timeout=ClientTimeout(total=0.05))
    assert (await caller.call("GET", "/orders/")).status == 200


async def test_bytes_can_drip(caller: Caller) -> None:
    """Few at a time, and all of them in the end."""
    image_id = caller.control.add_order([ImageSpec(size=1000)]).images[0].image_id
    caller.control.add_fault("drip", image_id=image_id, chunk_bytes=100, interval=0.01)
    link = await caller.link(f"/images/{image_id}/enhanced")

    async with caller.session.get(link) as response:
        chunks = [chunk async for chunk in response.content.iter_any()]

    assert len(chunks) > 1
    assert b"".join(chunks) == caller.control.expected(image_id)


async def test_redirects_can_go_round_in_circles(caller: Caller) -> None:
    """A client that follows them must stop by itself."""
    image_id = add_image(caller)
    caller.control.add_fault("redirect_loop", image_id=image_id)

    with pytest.raises(TooManyRedirects):
        async with caller.session.get(
            f"{caller.sandbox.api_base}/images/{image_id}/enhanced", headers={"x-api-key": "sandbox-key"}
        ):
            pass


@pytest.mark.parametrize("location", ["ftp://localhost/a.jpg", "https://elsewhere.invalid/a.jpg", "/relative"])
async def test_redirects_can_go_anywhere(caller: Caller, location: str) -> None:
    """Another scheme, another host: the address goes out as it was given."""
    image_id = add_image(caller)
    caller.control.add_fault("redirect_to", image_id=image_id, location=location)

    answer = await caller.call("GET", f"/images/{image_id}/enhanced")

    assert (answer.status, answer.headers["Location"]) == (302, location)


async def test_a_redirect_can_lead_nowhere(caller: Caller) -> None:
    """302 without an address."""
    image_id = add_image(caller)
    caller.control.add_fault("redirect_nowhere", image_id=image_id)

    answer = await caller.call("GET", f"/images/{image_id}/enhanced")

    assert (answer.status, answer.headers.get("Location")) == (302, None)


async def test_an_upload_can_fail_as_well(caller: Caller) -> None:
    """The storage refuses a PUT once."""
    image = await caller.json("POST", "/images/", json={"image_name": "a.jpg"})
    caller.control.add_fault("status", status=503, operation="upload", image_id=image["image_id"])

    statuses = [(await caller.put(image["upload_url"], b"\xff\xd8\xff")).status for _ in range(2)]

    assert statuses == [503, 200]


async def test_a_redirect_off_the_web_is_seen_by_clients(caller: Caller) -> None:
    """aiohttp itself refuses to follow it."""
    image_id = add_image(caller)
    caller.control.add_fault("redirect_to", image_id=image_id, location="file:///etc/hosts")

    with pytest.raises(NonHttpUrlRedirectClientError):
        async with caller.session.get(
            f"{caller.sandbox.api_base}/images/{image_id}/enhanced", headers={"x-api-key": "sandbox-key"}
        ):
            pass


def test_every_kind_is_known_by_its_word() -> None:
    """The words of the control route are the values of the enumeration."""
    assert FaultKind("black_hole") is FaultKind.BLACK_HOLE


@pytest.mark.parametrize(("kind", "content_type"), [("wrong_type", "text/html"), ("wrong_bytes", "application/json")])
async def test_documents_can_be_mislabelled_too(caller: Caller, kind: str, content_type: str) -> None:
    """A right document under another type, and a page under the right one."""
    caller.control.add_fault(kind, operation="list_orders")

    answer = await caller.call("GET", "/orders/")

    assert (answer.status, answer.content_type) == (200, content_type)
    assert answer.text.startswith("{" if kind == "wrong_type" else "<!doctype html>")
