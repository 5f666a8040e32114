"""Which images of a plan can be fetched: now, and, when the caller waits, as they become ready."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from service.archives.options import Options
from service.archives.plan import Plan, PlannedImage
from service.archives.polling import Polling
from service.archives.signal import Signal, within
from service.problems import Problem
from service.reasons import Reason
from service.telemetry.logs import get_logger
from service.upstream.models import ImageState, Order

log = get_logger(__name__)

_REASONS = {
    ImageState.WAITING: Reason.NOT_UPLOADED,
    ImageState.FAILED: Reason.ENHANCEMENT_FAILED,
    ImageState.EXPIRED: Reason.EXPIRED,
}
_SETTLED = frozenset({ImageState.READY, ImageState.FAILED, ImageState.EXPIRED})


class Readiness:
    """Tells of each image of a plan when it can be fetched, or why it cannot.

    `replan` asks upstream again; `deadline` (of `time.monotonic`) ends the waiting and may be moved back meanwhile;
    `news` fires when there is reason to ask again before the time.
    A state that nobody knows is taken for unfinished while there is time, and for finished when there is none.
    """

    def __init__(self, plan: Plan, replan: Callable[[], Awaitable[Plan]], deadline: float, news: Signal) -> None:
        self.plan = plan
        self.deadline = deadline
        self._replan = replan
        self._news = news
        self._heard = news.next()

    def is_ready(self, image: PlannedImage) -> bool:
        """Whether the image can be fetched now."""
        return image.state is ImageState.READY or (image.state is ImageState.UNKNOWN and not self.plan.wait)

    async def images(self, left: Sequence[PlannedImage]) -> AsyncGenerator[tuple[PlannedImage, Reason | None], None]:
        """Each image of `left` once: with None when it can be fetched, else with the reason why not."""
        waiting = {image.image_id: image for image in left}
        polling = Polling()
        while True:
            last_look = not self.plan.wait or time.monotonic() >= self.deadline
            now = {image.image_id: image for image in self.plan.images}
            for image_id, image in list(waiting.items()):
                current = now.get(image_id)
                if current is None or current.state in _SETTLED or last_look:
                    del waiting[image_id]
                    yield (current, obstacle(current)) if current else (image, Reason.IMAGE_NOT_FOUND)
            if not waiting or last_look:
                return
            await within(polling.pause(self.deadline), self._heard)
            await self._look_again()

    async def _look_again(self) -> None:
        self._heard = self._news.next()
        try:
            self.plan = await self._replan()
        except Problem as problem:
            log.warning("order could not be polled", order_id=self.plan.order_id, code=problem.code)


def is_settled(order: Order, options: Options) -> bool:
    """Whether waiting would change nothing: every chosen image is there and finished, one way or the other."""
    chosen = (image for image in order.images if not options.subset or image.image_id in options.subset)
    return not order.may_grow and all(image.state in _SETTLED for image in chosen)


def obstacle(image: PlannedImage) -> Reason | None:
    """Why an image cannot be fetched in its present state; None when it can be tried."""
    if image.state in (ImageState.READY, ImageState.UNKNOWN):
        return None
    return _REASONS.get(image.state, Reason.NOT_READY)
