"""A database without room: clear errors, and all goes on once there is some."""

from typing import Any, NoReturn

import pytest

from service.database import Database
from service.disk import OutOfSpace
from tests.support.client import Service
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream


async def full(*_: Any, **__: Any) -> NoReturn:
    """What every transaction comes to."""
    raise OutOfSpace("SQLITE_FULL")


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", f"/v1/orders/{ORDER}/images", "store_full"),
        ("GET", "/v1/archives/29c3edaa03dd479198aff186fafbf184", "store_full"),
        ("POST", f"/v1/orders/{ORDER}/jobs", "jobs_unavailable"),
    ],
)
async def test_a_full_database_is_a_clear_error(
    upstream: FakeUpstream, service: Service, monkeypatch: pytest.MonkeyPatch, method: str, path: str, code: str
) -> None:
    """Whoever needs a record is told that there is no room, and when to come again; and then it is served."""
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg(1)
    with monkeypatch.context() as patch:
        patch.setattr(Database, "run", full)
        refused = await service.ask(path, method=method)

    served = await service.download()

    assert (refused.status, refused.problem["code"]) == (503, code)
    assert int(refused.headers["Retry-After"]) > 0
    assert list(served.images) == ["a.jpg"]
