"""What the handlers of one sandbox share."""

import asyncio
from dataclasses import dataclass, field

from aiohttp import web

from .faults import Fault, FaultScript
from .limits import OVER_DAILY_LIMIT, Limits
from .links import Links
from .log import RequestLog, Served
from .rendering import Renderer
from .state import Image, State
from .webhooks import Webhooks


@dataclass(frozen=True, kw_only=True)
class Context:
    """The parts of one running sandbox."""

    state: State
    log: RequestLog
    faults: FaultScript
    limits: Limits
    links: Links
    renderer: Renderer
    webhooks: Webhooks
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the sandbox stops: endless waits end then."""

    def start_processing(self, image: Image, *, after: float = 0.0) -> None:
        """An image becomes `processing` now and is finished `image_delay` (and `after`) seconds later.

        Once the day's enhancements are used up it becomes `error` in place of that.
        """
        now = self.state.clock.now()
        if self.limits.count_enhancement():
            image.done_at = now + after + self.state.config.image_delay
        else:
            image.outcome, image.reason, image.done_at = "error", OVER_DAILY_LIMIT, now + after
        image.announced = False
        self.webhooks.wake()

    def buy(self, image: Image) -> bool:
        """Take one credit for an image that is not bought yet; False when there is none left."""
        if image.downloaded:
            return True
        if self.state.credits < 1:
            return False
        self.state.credits -= 1
        image.downloaded = True
        self.log.counters.credits_spent += 1
        self.log.counters.purchases[image.image_id] += 1
        return True


CONTEXT = web.AppKey("CONTEXT", Context)
ENTRY = web.RequestKey("ENTRY", Served)
FAULT = web.RequestKey("FAULT", Fault)


def api_version(request: web.Request) -> str:
    """The version in force for a request, as a date."""
    return request.headers.get("x-api-version") or request.app[CONTEXT].state.config.account_version
