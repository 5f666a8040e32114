"""Why an image or a file is missing although its request succeeded: a code, and advice for a person."""

from enum import StrEnum
from typing import Self


class _Advising(StrEnum):
    """Codes, each with what happened and the next step, in the words of no particular surface."""

    advice: str

    def __new__(cls, code: str, advice: str = "") -> Self:
        member = str.__new__(cls, code)
        member._value_, member.advice = code, advice
        return member


class Reason(_Advising):
    """Why one image is missing from an archive: the code, and in `advice` what happened and what to do."""

    NOT_READY = "not_ready", "Autoenhance is still enhancing it. Try again later, or wait for it when you download."
    NOT_UPLOADED = "not_uploaded", "It was never uploaded to Autoenhance. Upload it, then try again."
    ENHANCEMENT_FAILED = (
        "enhancement_failed",
        "Autoenhance could not enhance it. Process it again at Autoenhance, then try again.",
    )
    EXPIRED = "expired", "Autoenhance no longer has it. Upload it again."
    IMAGE_NOT_FOUND = "image_not_found", "Autoenhance does not know this image. Check whether it was deleted."
    NO_CREDIT = "no_credit", "The Autoenhance account has no credits left. Add credits, then try again."
    CREDIT_LIMIT = (
        "credit_limit",
        "This service has spent what it may spend today. Try again tomorrow (UTC); the operator can raise"
        " MAX_CREDITS_PER_DAY.",
    )
    CREDITS_UNKNOWN = (
        "credits_unknown",
        "How much was spent today cannot be told at the moment, so nothing is bought. Try again in a minute.",
    )
    REFUSED = "refused", "Autoenhance denies this service's API key access to it. The operator must check the key."
    REJECTED = "rejected", "Autoenhance rejected the request for it. Try other options."
    RATE_LIMITED = "rate_limited", "Autoenhance is limiting our requests. Try again in a minute."
    UPSTREAM_ERROR = "upstream_error", "Autoenhance failed on every attempt. Try again later."
    TIMEOUT = "timeout", "It did not arrive in time. Try again later."
    UNREACHABLE = "unreachable", "Autoenhance could not be reached. Try again later."
    TRUNCATED = "truncated", "Its download was interrupted on every attempt. Try again later."
    INCOMPLETE = (
        "incomplete",
        "Its file at Autoenhance ends too early. It is in the archive as it is; process it again there.",
    )
    TOO_LARGE = "too_large", "It is larger than this service accepts. Try other options."
    NOT_AN_IMAGE = "not_an_image", "Autoenhance sent something that is not an image. Try again later."
    BAD_REDIRECT = "bad_redirect", "Autoenhance redirected to a URL that cannot be used. Try again later."
    BREAKER_OPEN = "breaker_open", "Autoenhance is failing; requests are paused. Try again in a minute."
    STORE_FULL = "store_full", "This service has no storage space left. Try again later."
    INTERNAL_ERROR = "internal_error", "An internal error occurred. Try again later."

    @property
    def description(self) -> str:
        """What happened, without a next step: for where Autoenhance says itself what stands in the way."""
        return self.advice.partition(". ")[0].rstrip(".") + "."


class UploadReason(_Advising):
    """Why one file of a new order was not uploaded: the code, and in `advice` what happened and what to do."""

    NOT_AN_IMAGE = "not_an_image", "It is not a JPEG, PNG or WebP image. Convert it, then upload it again."
    FILE_TOO_LARGE = "file_too_large", "It is larger than 20 MB. Reduce its size, then upload it again."
    TOO_MANY_FILES = "too_many_files", "The order is full. Upload it in another order."
    REFUSED = "refused", "Autoenhance rejected it. Check the file, then upload it again."
    RATE_LIMITED = "rate_limited", "Autoenhance is limiting our requests. Upload it again in a minute."
    FILE_NAME_LIMIT = (
        "file_name_limit",
        "Autoenhance accepts one file name at most 30 times an hour. Rename the file, or upload it again in an hour.",
    )
    TIMEOUT = "timeout", "The upload to Autoenhance took too long. Upload it again."
    UPSTREAM_ERROR = "upstream_error", "Autoenhance could not store it. Upload it again later."
    BREAKER_OPEN = "breaker_open", "Autoenhance is failing; requests are paused. Upload it again in a minute."
