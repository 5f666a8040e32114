"""A storage that would let two builders mix an archive is refused."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from service.images.objects import Objects

_CONDITIONS = frozenset({"If-None-Match", "If-Match"})


async def check_a_storage_that_honours(*conditions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def put(request: web.Request) -> web.Response:
        is_refused = any(condition in request.headers for condition in conditions)
        return web.Response(status=412 if is_refused else 200, headers={"ETag": '"1"'})

    app = web.Application()
    app.router.add_put("/{path:.*}", put)
    async with TestServer(app) as server:
        login = {"AWS_ACCESS_KEY_ID": "access", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
        for name, value in {**login, "AWS_ENDPOINT_URL": str(server.make_url(""))}.items():
            monkeypatch.setenv(name, value)
        await Objects.open("s3://bucket/prefix").check()


@pytest.mark.parametrize("ignored", sorted(_CONDITIONS))
async def test_a_storage_without_conditional_writes_is_refused(ignored: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of the two conditions it ignores, the reason names it."""
    with pytest.raises(ValueError, match=rf"\({ignored}\)"):
        await check_a_storage_that_honours(*_CONDITIONS - {ignored}, monkeypatch=monkeypatch)


async def test_a_storage_with_conditional_writes_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses both writes of the check."""
    await check_a_storage_that_honours(*_CONDITIONS, monkeypatch=monkeypatch)
