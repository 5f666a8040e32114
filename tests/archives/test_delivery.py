"""What a request for an archive is answered with, and what of the build it waits for."""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias, cast
from unittest.mock import Mock

import pytest
from aiohttp import ClientError, ClientSession, HttpVersion10, web
from aiohttp.test_utils import TestClient

from service.archives.archive import Archive, State
from service.archives.delivery import LOG_FIELDS, STARTED, Delivery, DeliveryOptions
from service.archives.layout import Member
from service.archives.plan import PlannedOrder
from service.archives.readers import Readers
from service.images.store import ImageStore
from service.problems import Problem, StoreFull
from service.telemetry.metrics import Metrics
from tests.support.archives import ArchiveSystem, open_archives
from tests.support.images import put
from tests.support.orders import fill
from tests.support.plans import MOMENT, archive_of, plan_of
from tests.support.samples import ORDER, jpeg, order
from tests.support.transport import TIMEOUT
from tests.support.upstream import FakeUpstream

Client: TypeAlias = "TestClient[web.Request, web.Application]"
Serve: TypeAlias = Callable[..., Awaitable[Client]]


@pytest.fixture
def serve(aiohttp_client: Callable[[web.Application], Awaitable[Client]]) -> Serve:
    """Answers every request with an archive, or with the code of a problem."""

    async def serving(
        archive: Archive,
        images: ImageStore,
        *,
        max_wait: float = TIMEOUT,
        metrics: Metrics | None = None,
        log: list[dict[str, Any]] | None = None,
        **how: Any,
    ) -> Client:
        delivery = Delivery(images, metrics or Metrics(), max_wait)

        async def answer(request: web.Request) -> web.StreamResponse:
            request[STARTED] = time.monotonic()
            try:
                return await delivery.deliver(request, archive, DeliveryOptions(**how))
            except Problem as problem:
                return web.Response(status=problem.status, headers=problem.headers, text=problem.code)
            finally:
                if log is not None:
                    log.append(request[LOG_FIELDS])

        app = web.Application()
        app.router.add_get("/", answer)
        return await aiohttp_client(app)

    return serving


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=-10", "bytes=10-19"])
async def test_a_range_that_takes_too_long_is_sent_away_and_the_build_goes_on(serve: Serve, asked: str) -> None:
    """503 with `Retry-After`, never a part of what there is; the end stays wanted for the caller who comes back."""
    archive = Archive("a" * 32, key="k", orders=(PlannedOrder(order_id="o", total=2),), readers=Readers(1, grace=60))
    client = await serve(archive, cast(ImageStore, None), max_wait=0.05)  # nothing is sent

    response = await client.get("/", headers={"Range": asked})

    assert (response.status, await response.text()) == (503, "still_building")
    assert response.headers["Retry-After"] == "5"
    assert archive.readers.want_more(1 << 40)


def test_nobody_is_kept_waiting_for_longer_than_proxies_wait() -> None:
    """Common ones end a request without an answer after 60 seconds."""
    assert Delivery(cast(ImageStore, None), Metrics())._max_wait < 60


@pytest.mark.parametrize(("beyond", "status"), [(-1, 206), (0, 503)])
async def test_a_part_is_sent_once_its_last_byte_is_known(
    system: ArchiveSystem, serve: Serve, beyond: int, status: int
) -> None:
    """And not a byte earlier."""
    archive = archive_of(plan_of("a", "b"))
    archive.append(Member("a.jpg", await put(system.images, "a.0", b"photo"), MOMENT, "a"))
    client = await serve(archive, system.images, max_wait=0.05)

    response = await client.get("/", headers={"Range": f"bytes=1-{archive.length + beyond}"})

    assert response.status == status


async def test_what_was_sent_is_logged(system: ArchiveSystem, upstream: FakeUpstream, serve: Serve) -> None:
    """Given a part, and then an image that is lost."""
    fill(upstream, 1)
    archive, log = await system.finished(), list[dict[str, Any]]()
    client = await serve(archive, system.images, metrics=system.parts.metrics, log=log)

    await (await client.get("/", headers={"Range": "bytes=10-19"})).read()
    digest = archive.members[0].blob.digest
    system.images._files.forget(digest)
    system.images._files.path(digest).unlink()
    with pytest.raises(ClientError):
        await (await client.get("/", headers={"Range": "bytes=100-199"})).read()

    assert [(fields["outcome"], fields["bytes"]) for fields in log] == [("sent", 10), ("cut", 0)]


@pytest.mark.parametrize(
    "asked", [[None], ["bytes=0-99", "bytes=100-199", "bytes=200-"], ["bytes=0-0", "bytes=0-99999999"]]
)
async def test_an_archive_is_counted_as_served_when_its_last_byte_is_sent(
    system: ArchiveSystem, upstream: FakeUpstream, serve: Serve, asked: list[str | None]
) -> None:
    """Once, in however many parts a download manager asks for it, and whatever it looks at before."""
    fill(upstream, 1)
    archive = await system.finished()
    client = await serve(archive, system.images, metrics=system.parts.metrics)

    for part in asked:
        await (await client.get("/", headers={"Range": part} if part else {})).read()

    assert system.parts.sample("batch_archives_served_total") == 1


async def test_a_part_that_is_longer_than_a_build_may_be_ahead_is_built(
    system: ArchiveSystem, upstream: FakeUpstream, serve: Serve
) -> None:
    """Its last byte is wanted, however far that is from its first."""
    fill(upstream, 40, script=lambda number: jpeg(number, 50_000))
    system.archives._window = 100_000
    archive, _ = await system.start()
    client = await serve(archive, system.images)

    response = await client.get("/", headers={"Range": "bytes=0-999999"})

    assert (response.status, len(await response.read())) == (206, 1_000_000)
    assert not archive.is_settled


@pytest.mark.parametrize(("how", "is_settled"), [("complete", False), ("strict", True)])
async def test_a_part_of_the_beginning_waits_for_the_end_only_where_all_must_be_there(
    upstream: FakeUpstream, tmp_path: Path, serve: Serve, how: str, is_settled: bool
) -> None:
    """Given a build that is not to be ahead of its readers: nothing is bought for who resumes."""
    fill(upstream, 9)
    async with open_archives(upstream, tmp_path / "data", window=1, concurrency=1) as system:
        archive, _ = await system.start()
        archive.readers.reading = Mock(side_effect=archive.readers.reading)  # type: ignore[method-assign]
        client = await serve(archive, system.images, **{how: True})

        response = await client.get("/", headers={"Range": "bytes=0-9"})

        assert (response.status, archive.is_settled) == (206, is_settled)
        assert archive.readers.reading.call_args.kwargs == {"to_the_end": is_settled}


async def test_who_wants_all_or_nothing_is_told_what_is_missing(
    system: ArchiveSystem, upstream: FakeUpstream, serve: Serve
) -> None:
    """Instead of what there is."""
    fill(upstream, 2)
    upstream.images["i1"] = 404
    client = await serve(await system.finished(), system.images, strict=True)

    response = await client.get("/")

    assert (response.status, await response.text()) == (422, "images_missing")


async def test_a_client_of_http_1_0_is_told_the_length(
    system: ArchiveSystem, upstream: FakeUpstream, serve: Serve
) -> None:
    """It could not tell the end from a broken connection: it waits until all is in."""
    fill(upstream, 2)
    archive, _ = await system.start()
    client = await serve(archive, system.images)

    async with ClientSession(version=HttpVersion10) as session, session.get(client.make_url("/")) as response:
        body = await response.read()

    assert int(response.headers["Content-Length"]) == len(body) == archive.length


@pytest.mark.parametrize("has_it", [True, False])
async def test_an_older_archive_is_said_to_be_one(
    system: ArchiveSystem, upstream: FakeUpstream, serve: Serve, has_it: bool
) -> None:
    """Also to who has it already."""
    fill(upstream, 1)
    archive = await system.finished()
    client = await serve(archive, system.images, stale=True)

    response = await client.get("/", headers={"If-None-Match": f'"{archive.id}"'} if has_it else {})

    assert (response.status, response.headers["X-Archive-Stale"]) == (304 if has_it else 200, "true")


@pytest.mark.parametrize(
    ("headers", "how", "count"),
    [
        ({}, {}, 1),
        ({}, {"waits": True}, 0),
        ({}, {"complete": True}, 0),
        ({"Range": "bytes=0-9"}, {}, 0),
    ],
)
async def test_the_first_byte_is_timed_for_who_could_have_it_at_once(
    system: ArchiveSystem, upstream: FakeUpstream, serve: Serve, headers: dict[str, str], how: Any, count: int
) -> None:
    """Who asked to wait is not served slowly."""
    fill(upstream, 1)
    client = await serve(await system.finished(), system.images, metrics=system.parts.metrics, **how)

    await client.get("/", headers=headers)

    assert system.parts.sample("batch_archive_first_byte_seconds_count") == count


@pytest.mark.parametrize(("headers", "status"), [({}, "range_unsafe"), ({"If-Range": ""}, "")])
async def test_where_an_address_has_named_other_archives_a_part_needs_its_tag(
    system: ArchiveSystem, upstream: FakeUpstream, serve: Serve, headers: dict[str, str], status: str
) -> None:
    """Without it, bytes of two archives could be put together; with it, they are certain to be of this one."""
    upstream.orders[ORDER], upstream.images["a"] = order(["a"]), jpeg()
    archive = await system.finished()
    whole = await system.bytes_of(archive)

    async def has_named_others(archive_id: str) -> bool:
        return archive_id != archive.id

    client = await serve(archive, system.images, note_named=has_named_others)
    tag = dict.fromkeys(headers, f'"{archive.id}"')

    response = await client.get("/", headers={"Range": "bytes=10-19", **tag})

    assert await response.read() == (status.encode() or whole[10:20])
    assert "Accept-Ranges" not in response.headers or response.headers["Accept-Ranges"] == "none"


async def test_a_build_that_fails_while_its_name_is_noted_is_answered_with_its_problem(
    system: ArchiveSystem, upstream: FakeUpstream, serve: Serve
) -> None:
    """Not with the bytes that there are, which would end like a whole archive."""
    fill(upstream, 1)
    archive = await system.finished()
    archive.state = State.BUILDING

    async def fail(_: str) -> bool:
        archive.fail(StoreFull())
        return True

    client = await serve(archive, system.images, note_named=fail)

    response = await client.get("/")

    assert (response.status, await response.text()) == (503, "store_full")


async def test_a_build_that_ends_while_its_name_is_noted_is_answered_with_its_length(
    system: ArchiveSystem, upstream: FakeUpstream, serve: Serve
) -> None:
    """As with its counts: a browser shows how far it is."""
    fill(upstream, 2)
    archive, _ = await system.start()

    async def end(_: str) -> bool:
        await archive.wait_until(lambda: False)
        return True

    client = await serve(archive, system.images, note_named=end)

    response = await client.get("/")

    assert (response.headers.get("X-Downloaded"), response.content_length) == ("2", archive.length)
