"""A caller that keeps what it has got and goes on from there, as browsers and `curl -C -` do."""

from enum import Enum

from aiohttp import ClientError

from service.sandbox.state import Order
from tests.faults.scene import QUERY, Scene


class Way(Enum):
    """Where a caller goes on."""

    BROWSER = "order's address, with Range and If-Range"
    ARCHIVE = "archive's address, with Range"


class Caller:
    """One download of an order, over as many connections as it takes."""

    def __init__(self, scene: Scene, order: Order) -> None:
        self._scene = scene
        self._order = order
        self.body = bytearray()
        self.archive_id: str | None = None
        self.restarts = 0
        """How often the service gave another archive than the one begun."""
        self.refused: list[int] = []
        """Statuses of answers that were no archive."""

    async def go_on(self, way: Way = Way.BROWSER, *, base: str | None = None, limit: int | None = None) -> bool:
        """Ask for what is missing and take it, at most `limit` bytes; False when it broke off.

        `base` is where the service is reached, if not directly.
        """
        path, headers = self._scene.order_path(self._order), {}
        if self.archive_id is not None:
            headers["Range"] = f"bytes={len(self.body)}-"
            if way is Way.ARCHIVE:
                path = f"/v1/archives/{self.archive_id}"
            else:
                headers["If-Range"] = f'"{self.archive_id}"'
        try:
            return await self._take((base or self._scene.service.url) + path, headers, limit)
        except (ClientError, ConnectionError):
            return False

    async def _take(self, url: str, headers: dict[str, str], limit: int | None) -> bool:
        query = {} if "/archives/" in url else QUERY
        async with self._scene.session.get(url, params=query, headers=headers) as response:
            if response.status == 416:  # all is here but the connection's proper end
                return response.headers["Content-Range"] == f"bytes */{len(self.body)}"
            if response.status not in (200, 206):
                self.refused.append(response.status)
                return False
            if response.status == 200:
                self.restarts += self.archive_id is not None
                self.body.clear()
            self.archive_id = response.headers["X-Archive-Id"]
            goal = None if limit is None else len(self.body) + limit
            async for chunk in response.content.iter_any():
                self.body += chunk
                if goal is not None and len(self.body) >= goal:
                    return False
        return True
