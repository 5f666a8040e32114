"""A storage that would let two builders mix an archive is refused."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from service.cluster.objects import Objects, open_store
from service.telemetry.metrics import Metrics
from tests.support.loopback import free_port
from tests.support.s3_server import S3Server

_CONDITIONS = frozenset({"If-None-Match", "If-Match"})
_TAG, _DATE = '"1"', "Mon, 02 Mar 2026 09:15:04 GMT"


async def check_a_storage_that_honours(
    *conditions: str, monkeypatch: pytest.MonkeyPatch, read_tag: str = _TAG, says_of_none: int = 404
) -> None:
    """`read_tag`: with which it answers a GET; `says_of_none`: the status of what is not there."""

    async def put(request: web.Request) -> web.Response:
        is_refused = any(request.headers.get(condition) not in (None, _TAG) for condition in conditions)
        return web.Response(status=412 if is_refused else 200, headers={"ETag": _TAG})

    async def get(request: web.Request) -> web.Response:
        if "list-type" in request.query:
            return web.Response(text="<ListBucketResult></ListBucketResult>")
        if request.path == "/bucket/prefix/probe":
            return web.Response(body=b"probe", headers={"ETag": read_tag, "Last-Modified": _DATE})
        return web.Response(status=says_of_none)

    app = web.Application()
    app.router.add_put("/{path:.*}", put)
    app.router.add_get("/{path:.*}", get)
    async with TestServer(app) as server:
        login = {"AWS_ACCESS_KEY_ID": "access", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
        for name, value in {**login, "AWS_ENDPOINT_URL": str(server.make_url(""))}.items():
            monkeypatch.setenv(name, value)
        await Objects(open_store("s3://bucket/prefix"), Metrics()).check()


@pytest.mark.parametrize("ignored", sorted(_CONDITIONS))
async def test_a_storage_without_conditional_writes_is_refused(ignored: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of the two conditions it ignores, the reason names it."""
    with pytest.raises(ValueError, match=rf"\({ignored}\)"):
        await check_a_storage_that_honours(*_CONDITIONS - {ignored}, monkeypatch=monkeypatch)


async def test_a_storage_with_conditional_writes_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses two writes of the check, and takes the one whose condition is met."""
    await check_a_storage_that_honours(*_CONDITIONS, monkeypatch=monkeypatch)


async def test_a_storage_that_may_not_be_listed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is not there it answers 403, as Amazon's does: nothing would ever be found there."""
    with pytest.raises(ValueError, match="s3:ListBucket"):
        await check_a_storage_that_honours(*_CONDITIONS, monkeypatch=monkeypatch, says_of_none=403)


async def test_a_storage_behind_a_proxy_that_weakens_etags_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read from it could never be written again under a condition."""
    with pytest.raises(ValueError, match="ETags"):
        await check_a_storage_that_honours(*_CONDITIONS, monkeypatch=monkeypatch, read_tag=f"W/{_TAG}")


@pytest.mark.parametrize("status", [401, 403])
async def test_a_storage_that_refuses_us_stops_the_start(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Serving alone, as if with others, would buy everything again."""
    with pytest.raises(ValueError, match="refuses us"):
        await check_a_storage_that_answers(status, monkeypatch)


async def test_a_bucket_that_is_not_there_stops_the_start(s3: S3Server) -> None:
    """It is told as such."""
    with pytest.raises(ValueError, match="no such bucket"):
        await Objects(open_store("s3://there-is-none/prefix"), Metrics()).check()


async def test_a_storage_that_is_away_does_not_stop_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be back in a moment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")

    await Objects(open_store("s3://bucket/prefix"), Metrics()).check()


async def check_a_storage_that_answers(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text="<Error><Code>AccessDenied</Code></Error>")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        login = {"AWS_ACCESS_KEY_ID": "access", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
        for name, value in {**login, "AWS_ENDPOINT_URL": str(server.make_url(""))}.items():
            monkeypatch.setenv(name, value)
        await Objects(open_store("s3://bucket/prefix"), Metrics()).check()
