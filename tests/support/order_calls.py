"""A stand-in for the client: answers order calls as told, and keeps count."""

import asyncio
from collections.abc import Iterator
from typing import cast

from service.orders.orders import Orders
from service.upstream.client import Autoenhance
from service.upstream.models import Order
from service.upstream.order_document import parse_order
from tests.support.loopback import Watched

FINAL = parse_order({"order_id": "o", "images": [{"image_id": "a", "status": "processed"}]})
CHANGING = parse_order({"order_id": "o", "images": [{"image_id": "a", "status": "processing"}]})
EMPTY = parse_order({"order_id": "o", "is_processing": True, "images": []})


class Upstream(Watched):
    """Answers order calls with `answer`, once `gate` is open."""

    def __init__(self) -> None:
        super().__init__()
        self.answer: Order | Exception = FINAL
        self.answers: Iterator[Order | Exception] = iter(())
        """Told before `answer`, each once."""
        self.gate = asyncio.Event()
        self.gate.set()
        self.calls: list[str] = []
        self.cancelled = 0

    async def order(self, order_id: str) -> Order:
        """What was the answer when the call came, told once the gate is open."""
        self.calls.append(order_id)
        self.changed()
        answer = next(self.answers, self.answer)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(answer, Exception):
            raise answer
        return answer

    def orders(self, freshness: float = 10.0) -> Orders:
        """A cache in front of it."""
        return Orders(cast("Autoenhance", self), freshness)
