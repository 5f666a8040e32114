"""How images and builds turn out: why an image is missing, and with which problem a build ends."""

from service.archives.archive import Archive, ImageResult, State
from service.archives.plan import PlannedImage
from service.archives.readers import Abandoned
from service.archives.shared_archives import TakenOver
from service.disk import OutOfSpace
from service.images.spending import until_tomorrow
from service.problems import (
    ArchiveGone,
    BreakerOpen,
    CreditLimit,
    CreditsUnknown,
    InternalError,
    NoImages,
    Problem,
    StillBuilding,
    StoreFull,
)
from service.reasons import Reason
from service.telemetry.logs import get_logger
from service.telemetry.metrics import ArchiveOutcome
from service.upstream.models import ImageState

log = get_logger(__name__)

MAY_BE_STORED = frozenset({ImageState.READY, ImageState.UNKNOWN, ImageState.EXPIRED})
"""Autoenhance has finished them, or may have: what it made under the same key is what it would send now."""
FOR_GOOD = frozenset({Reason.IMAGE_NOT_FOUND, Reason.EXPIRED, Reason.REJECTED, Reason.TOO_LARGE})
"""Why an image cannot be fetched any more; other failures may pass."""
_OBSTACLES = {
    ImageState.WAITING: Reason.NOT_UPLOADED,
    ImageState.PROCESSING: Reason.NOT_READY,
    ImageState.FAILED: Reason.ENHANCEMENT_FAILED,
    ImageState.EXPIRED: Reason.EXPIRED,
}
_TAKEN_OVER_SECONDS = 2.0


def obstacle(image: PlannedImage) -> Reason | None:
    """Why an image cannot be fetched in its present state; None when it can be tried."""
    return _OBSTACLES.get(image.state)


def image_failure(image: PlannedImage, reason: Reason, attempts: int = 0) -> ImageResult:
    """How an image turned out that cannot be had; of one that failed at Autoenhance, with what that says of it."""
    said = image.status_reason if reason in (Reason.ENHANCEMENT_FAILED, Reason.EXPIRED) else None
    which = image.rendition or None
    return ImageResult(
        image.image_id, image.name, None, 0, None, reason, attempts, said, rendition=which, order=image.order
    )


def problem_of_all(reason: Reason | None) -> Problem | None:
    """What a caller is told in place of a list when everything asked for is missing for this reason alone."""
    match reason:
        case Reason.BREAKER_OPEN:
            return BreakerOpen()
        case Reason.CREDIT_LIMIT:
            return CreditLimit(retry_after=until_tomorrow())
        case Reason.CREDITS_UNKNOWN:
            return CreditsUnknown()
    return None


def nothing_usable(archive: Archive) -> Problem:
    """Why there is no archive, when it has none of its images."""
    reasons = {result.code for result in archive.failures}
    if len(reasons) == 1 and (problem := problem_of_all(reasons.pop())) is not None:
        return problem
    failures = [archive.failure_of(result) for result in archive.failures]
    return NoImages(failures, orders=[order.failure for order in archive.failed_orders])


def problem_of(error: BaseException) -> Problem:
    """What callers are told of a build that ended with this error, or with a group of them; the log hears of faults."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    match error:
        case Problem():
            return error
        case Abandoned():
            return ArchiveGone()
        case OutOfSpace():
            log.warning("no storage space", reason=str(error))
            return StoreFull()
        case TakenOver():
            return StillBuilding(retry_after=_TAKEN_OVER_SECONDS)
    log.error("build failed", exc_info=error)
    return InternalError()


def outcome_of(archive: Archive) -> ArchiveOutcome:
    """How its build ended, in a word."""
    match archive.state:
        case State.COMPLETE:
            return ArchiveOutcome.SUCCESS
        case State.PARTIAL:
            return ArchiveOutcome.PARTIAL
        case _ if isinstance(archive.failure, ArchiveGone):
            return ArchiveOutcome.CANCELLED
        case _:
            return ArchiveOutcome.FAILURE
