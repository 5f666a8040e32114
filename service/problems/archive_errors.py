"""Errors of an order, its images and its archive."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from service.problems.base import ImagesFailed, Problem, RetryableProblem

_DOWNLOAD_AGAIN = "Download the order again; stored images are not fetched again."


class UnknownImage(Problem):
    """`image_ids` lists them."""

    status, code = HTTPStatus.BAD_REQUEST, "unknown_image"
    title = "An image is not part of this order"
    advice = "GET /v1/orders/{order_id} lists the ids of the order's images."

    def __init__(self, image_ids: Sequence[str]) -> None:
        super().__init__(
            f"Not in this order: {', '.join(image_ids)}.",
            extra={"parameter": "image", "image_ids": list(image_ids)},
        )


class NothingNew(Problem):
    """A download answers without a body; for a job it is the error."""

    status, code = HTTPStatus.NO_CONTENT, "nothing_new"
    title = "Nothing is new since that archive"
    advice = "It holds all of the order's images as they are; leave out since to have them again."


class ImageNotFound(Problem):
    status, code = HTTPStatus.NOT_FOUND, "image_not_found"
    title = "There is no such image in this order"
    advice = "GET /v1/orders/{order_id} lists the ids of the order's images."


class ImageNotReady(RetryableProblem):
    """`failures` has the reason."""

    status, code = HTTPStatus.CONFLICT, "image_not_ready"
    title = "The image is not finished yet"
    advice = "Try again later."
    detail_has_advice = False

    def __init__(self, failure: Mapping[str, Any]) -> None:
        super().__init__(failure["reason"], retry_after=10)
        self.extra["failures"] = [dict(failure)]


class ImageExpired(Problem):
    """`failures` has the reason."""

    status, code = HTTPStatus.GONE, "image_expired"
    title = "Autoenhance no longer has this image"
    advice = "Upload it again."
    detail_has_advice = False

    def __init__(self, failure: Mapping[str, Any]) -> None:
        super().__init__(failure["reason"], extra={"failures": [dict(failure)]})


class OrderNotFound(Problem):
    status, code = HTTPStatus.NOT_FOUND, "order_not_found"
    title = "Autoenhance does not know this order"
    advice = "Check the id, and that the order belongs to the Autoenhance account of this service."


class OrderEmpty(Problem):
    status, code = HTTPStatus.NOT_FOUND, "order_empty"
    title = "This order has no images"
    advice = "Upload photos to it, or try again later if they were just uploaded."


class ArchiveNotFound(Problem):
    status, code = HTTPStatus.NOT_FOUND, "archive_not_found"
    title = "No such archive"
    advice = _DOWNLOAD_AGAIN


class ArchiveGone(Problem):
    status, code = HTTPStatus.GONE, "archive_gone"
    title = "The archive has expired"
    advice = _DOWNLOAD_AGAIN


class PreconditionFailed(Problem):
    """`If-Match` names another one."""

    status, code = HTTPStatus.PRECONDITION_FAILED, "precondition_failed"
    title = "This is not the file you have"
    advice = "Send the request without If-Match, or to the URL of the archive you have."


class RangeUnsafe(Problem):
    """This URL has named another archive, or none that is known here."""

    status, code = HTTPStatus.PRECONDITION_FAILED, "range_unsafe"
    title = "The rest of your download is not at this URL"
    advice = "Delete the partial file and download again, or resume with If-Range or at /v1/archives/{archive_id}."


class RangeNotSatisfiable(Problem):
    """`Content-Range` gives its length."""

    status, code = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "range_not_satisfiable"
    title = "The range starts after the end of the file"
    advice = "If your file already has that size, it is complete."

    def __init__(self, length: int) -> None:
        super().__init__(f"The file has {length} bytes.", headers={"Content-Range": f"bytes */{length}"})


class TooManyImages(Problem):
    """The limit is `MAX_IMAGES_PER_ORDER`."""

    status, code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_many_images"
    title = "Too many images for one archive"
    advice = "Download it in parts: part=1, part=2 and so on. The overview of the order links them."

    def __init__(self, images: int, limit: int) -> None:
        super().__init__(
            f"The request covers {images} images; the limit is {limit}.",
            extra={"images": images, "limit": limit},
        )


class MaxCreditsExceeded(Problem):
    """`to_buy` is the number of images that would be bought. Nothing was bought."""

    status, code = HTTPStatus.CONFLICT, "max_credits_exceeded"
    title = "This would buy more images than max_credits allows"
    advice = "Raise max_credits to the number in `to_buy`, or ask for fewer images."

    def __init__(self, to_buy: int, max_credits: int) -> None:
        super().__init__(
            f"It would buy {to_buy} images, a credit each; max_credits is {max_credits}.",
            extra={"to_buy": to_buy, "max_credits": max_credits},
        )


class CreditLimit(RetryableProblem):
    """What is stored can still be downloaded."""

    code = "credit_limit"
    title = "This service may spend no more credits today"
    advice = "Try again tomorrow (UTC). The operator can raise MAX_CREDITS_PER_DAY."


class NoImages(ImagesFailed):
    """`failures` lists them."""

    code = "no_images"
    title = "None of the images could be downloaded"
    advice = "`failures` gives the reason for each image. Resolve it, then try again."


class NoOrders(Problem):
    """Of several in one ZIP; it is the error of a job. `detail` has the reason for each."""

    status, code = HTTPStatus.UNPROCESSABLE_ENTITY, "no_orders"
    title = "None of the orders could be downloaded"
    advice = "Resolve the reason for each order, then try again."

    def __init__(self, orders: Sequence[Mapping[str, Any]]) -> None:
        reasons = (f"{order['order_id']}: {order['reason']}" for order in orders)
        super().__init__(" ".join(reasons), extra={"orders": list(orders)})


class ImagesMissing(ImagesFailed):
    """Only with `on_failure=strict`. `failures` lists them."""

    code = "images_missing"
    title = "Some images could not be downloaded"
    advice = "`failures` gives the reason for each. Try again, or use on_failure=partial to get the others."


class StillBuilding(RetryableProblem):
    """The requested range needs its end."""

    code = "still_building"
    title = "The archive is still being built"
    advice = "The build continues. Try again after the number of seconds in Retry-After."


class StoreFull(RetryableProblem):
    code = "store_full"
    title = "No storage space left"
    advice = "Try again later, or with fewer images. The operator can free disk space or raise STORE_MAX_BYTES."
