"""One image of an order by itself: from the store, or fetched into it as a build would."""

from dataclasses import replace

from service.archives.build import BuildContext
from service.archives.options import ImageOptions, Options
from service.archives.outcomes import MAY_BE_STORED, image_failure, obstacle, problem_of_all
from service.archives.plan import Plan
from service.archives.planner import with_parents
from service.images.blobs import Blob
from service.images.requests import FetchContext, ImageFailed
from service.problems import ImageExpired, ImageNotFound, ImageNotReady, NoImages, Problem, StoreFull
from service.reasons import Reason
from service.telemetry.metrics import ImageOutcome
from service.upstream.models import Order, Rendition

# Of a preview, in pixels: what is not larger is a thumbnail.
_THUMBNAIL_WIDTH = 480
# All that a caller asks for by itself takes its turn as one build.
_BUILD = "single images"


class SingleImages:
    """Plans, finds and fetches single images, with the slots, limits and rules of all downloads."""

    def __init__(self, context: BuildContext) -> None:
        self._fetcher = context.fetcher
        self._store = context.store
        self._plan = context.plan
        self._metrics = context.metrics

    async def plan(self, order_id: str, order: Order, image_id: str, wanted: ImageOptions) -> Plan:
        """The plan of an archive with this image, or its original, alone.

        Raises `ImageNotFound` when it is not part of the order.
        """
        record = next((image for image in order.images if image.image_id == image_id), None)
        if record is None:
            raise ImageNotFound
        options = Options(**wanted.plain.model_dump(), image=(image_id,))
        if wanted.include is None:
            return await self._plan(order_id, replace(order, images=(record,)), options)
        options = options.model_copy(update={"include": (wanted.include,)})
        # An original may be that of another image of the order.
        plan = await self._plan(order_id, with_parents(order, record), options)
        return plan.model_copy(update={"images": tuple(image for image in plan.images if image.is_original)})

    async def find(self, plan: Plan) -> Blob | None:
        """The image, if it is stored as Autoenhance would send it now."""
        image = plan.images[0]
        return (await self._store.find(plan.keys)).get(image.key) if image.state in MAY_BE_STORED else None

    async def fetch(self, plan: Plan, caller: str) -> Blob:
        """The image, once it is in the store; `caller` is whose turn it takes.

        Raises `ImageNotReady`, `ImageExpired`, `ImageNotFound`, `NoImages`, `BreakerOpen`, `NO_PURCHASES`, `StoreFull`,
        or `OutOfSpace`.
        """
        image = plan.images[0]
        reason = obstacle(image)
        if reason is not None:
            raise self._problem(plan, reason)
        is_looked_at = is_thumbnail(plan.rendition(image))  # and so counted nowhere
        context = FetchContext(_BUILD, caller, behind=is_looked_at)
        try:
            fetched = await self._fetcher.fetch(plan.request(image), context)
        except ImageFailed as failed:
            if not is_looked_at:
                self._metrics.images.labels(ImageOutcome.FAILED).inc()
                self._metrics.image_failures.labels(failed.reason).inc()
            raise self._problem(plan, failed.reason, failed.attempts) from failed
        if fetched.attempts and not is_looked_at:
            self._metrics.images.labels(ImageOutcome.DOWNLOADED).inc()
        return fetched.blob

    def _problem(self, plan: Plan, reason: Reason, attempts: int = 0) -> Problem:
        failure = image_failure(plan.images[0], reason, attempts).failure
        match reason:
            case Reason.NOT_READY | Reason.NOT_UPLOADED:
                return ImageNotReady(failure)
            case Reason.EXPIRED:
                return ImageExpired(failure)
            case Reason.IMAGE_NOT_FOUND:
                return ImageNotFound()
            case Reason.STORE_FULL:
                return StoreFull()
        return problem_of_all(reason) or NoImages([failure])


def is_thumbnail(rendition: Rendition) -> bool:
    """Whether downloads go before it."""
    return rendition.preview and rendition.max_width is not None and rendition.max_width <= _THUMBNAIL_WIDTH
