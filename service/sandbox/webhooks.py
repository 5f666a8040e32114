"""Telling a receiver that images are done: duplicated, out of order or not at all, as configured."""

import asyncio
import contextlib
import logging
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout

from .log import RequestLog
from .state import FAILED, Image, State

logger = logging.getLogger(__name__)

Event = dict[str, Any]
TIMEOUT = ClientTimeout(total=5)


class Webhooks:
    """Watches the clock for finished images and announces each once; nothing is ever sent again on failure."""

    def __init__(self, state: State, log: RequestLog) -> None:
        self._state = state
        self._log = log
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._queue: list[Event] = []
        self._held: dict[str, list[Event]] = {}
        self._made = 0

    def start(self) -> None:
        """Begin to watch for finished images."""
        self._task = asyncio.create_task(self._run(), name="sandbox-webhooks")

    async def stop(self) -> None:
        """Watch no more; what was not delivered is lost."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def wake(self) -> None:
        """Look again: an image, the clock or the configuration has changed."""
        self._changed.set()

    def configured(self) -> None:
        """Somebody saved the settings: the receiver hears of it at once."""
        self._queue.append({"event": "webhook_updated"})
        self.wake()

    def registered(self, image: Image) -> None:
        """Tell the receiver of a new image, if it wants to know of those."""
        if self._state.config.webhook_registered:
            self._queue.append({"event": "image_registered", "image_id": image.image_id, "order_id": image.order_id})
            self.wake()

    async def _run(self) -> None:
        async with ClientSession(timeout=TIMEOUT) as session:
            while True:
                self._changed.clear()
                self._collect()
                while self._queue:
                    await self._deliver(session, self._queue.pop(0))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), self._until_next())

    def _pending(self) -> list[Image]:
        """Images that are on their way to being finished, the earliest first."""
        images = [i for i in self._state.images.values() if i.done_at is not None and not i.announced]
        return sorted(images, key=lambda image: image.done_at or 0)

    def _until_next(self) -> float | None:
        pending = self._pending()
        if not pending or pending[0].done_at is None:
            return None
        return max(0.0, pending[0].done_at - self._state.clock.now())

    def _collect(self) -> None:
        now = self._state.clock.now()
        due = [image for image in self._pending() if (image.done_at or 0) <= now]
        for number, image in enumerate(due):
            image.announced = True
            order = self._state.orders.get(image.order_id or "")
            later = [other for other in due[number + 1 :] if other.order_id == image.order_id]
            busy = bool(later) or (order is not None and order.is_processing(now))
            self._announce(image, busy=busy, now=now)

    def _announce(self, image: Image, *, busy: bool, now: float) -> None:
        config = self._state.config
        self._made += 1
        if config.webhook_lose_every and self._made % config.webhook_lose_every == 0:
            return
        event: Event = {
            "event": "image_processed",
            "image_id": image.image_id,
            "order_id": image.order_id,
            "error": image.status(now) in FAILED,
            "order_is_processing": busy,
        }
        copies = [event] * (1 + config.webhook_duplicates)
        held = self._held.setdefault(image.order_id or "", [])
        held.extend(copies)
        if config.webhook_reversed and busy:
            return
        self._queue.extend(reversed(held) if config.webhook_reversed else held)
        held.clear()

    async def _deliver(self, session: ClientSession, event: Event) -> None:
        config = self._state.config
        if config.webhook_url is None:
            return
        headers = {"Authentication": config.webhook_secret} if config.webhook_secret else {}
        self._log.counters.webhooks += 1
        try:
            async with session.post(config.webhook_url, json=event, headers=headers) as response:
                await response.read()
        except (ClientError, TimeoutError) as error:
            logger.warning("webhook not delivered: %s", type(error).__name__)
