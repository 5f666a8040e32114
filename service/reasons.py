"""Why an image or a file is missing although its request succeeded: a code, and advice for a person."""

from enum import StrEnum


class Reason(StrEnum):
    """Why one image is missing from an archive: the code, and in `advice` what happened and what to do."""

    NOT_READY = "not_ready"
    NOT_UPLOADED = "not_uploaded"
    ENHANCEMENT_FAILED = "enhancement_failed"
    EXPIRED = "expired"
    IMAGE_NOT_FOUND = "image_not_found"
    NO_CREDIT = "no_credit"
    CREDIT_LIMIT = "credit_limit"
    REFUSED = "refused"
    REJECTED = "rejected"
    RATE_LIMITED = "rate_limited"
    UPSTREAM_ERROR = "upstream_error"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    TRUNCATED = "truncated"
    INCOMPLETE = "incomplete"
    TOO_LARGE = "too_large"
    NOT_AN_IMAGE = "not_an_image"
    BAD_REDIRECT = "bad_redirect"
    BREAKER_OPEN = "breaker_open"
    STORE_FULL = "store_full"
    INTERNAL_ERROR = "internal_error"

    @property
    def advice(self) -> str:
        """What happened and the next step, in the words of no particular surface."""
        return _ADVICE[self]

    @property
    def description(self) -> str:
        """What happened, without a next step: for where Autoenhance says itself what stands in the way."""
        return self.advice.partition(". ")[0].rstrip(".") + "."


_ADVICE = {
    Reason.NOT_READY: "Autoenhance is still enhancing it. Try again later, or wait for it when you download.",
    Reason.NOT_UPLOADED: "It was never uploaded to Autoenhance. Upload it, then try again.",
    Reason.ENHANCEMENT_FAILED: "Autoenhance could not enhance it. Process it again at Autoenhance, then try again.",
    Reason.EXPIRED: "Autoenhance no longer has it. Upload it again.",
    Reason.IMAGE_NOT_FOUND: "Autoenhance does not know this image. Check whether it was deleted.",
    Reason.NO_CREDIT: "The Autoenhance account has no credits left. Add credits, then try again.",
    Reason.CREDIT_LIMIT: (
        "This service has spent what it may spend today. Try again tomorrow (UTC); the operator can raise"
        " MAX_CREDITS_PER_DAY."
    ),
    Reason.REFUSED: "Autoenhance denies this service's API key access to it. The operator must check the key.",
    Reason.REJECTED: "Autoenhance rejected the request for it. Try other options.",
    Reason.RATE_LIMITED: "Autoenhance is limiting our requests. Try again in a minute.",
    Reason.UPSTREAM_ERROR: "Autoenhance failed on every attempt. Try again later.",
    Reason.TIMEOUT: "It did not arrive in time. Try again later.",
    Reason.UNREACHABLE: "Autoenhance could not be reached. Try again later.",
    Reason.TRUNCATED: "Its download was interrupted on every attempt. Try again later.",
    Reason.INCOMPLETE: "Its file at Autoenhance ends too early. It is in the archive as it is; process it again there.",
    Reason.TOO_LARGE: "It is larger than this service accepts. Try other options.",
    Reason.NOT_AN_IMAGE: "Autoenhance sent something that is not an image. Try again later.",
    Reason.BAD_REDIRECT: "Autoenhance redirected to a URL that cannot be used. Try again later.",
    Reason.BREAKER_OPEN: "Autoenhance is failing; requests are paused. Try again in a minute.",
    Reason.STORE_FULL: "This service has no storage space left. Try again later.",
    Reason.INTERNAL_ERROR: "An internal error occurred. Try again later.",
}


class UploadReason(StrEnum):
    """Why one file of a new order was not uploaded: the code, and in `advice` what happened and what to do."""

    NOT_AN_IMAGE = "not_an_image"
    FILE_TOO_LARGE = "file_too_large"
    TOO_MANY_FILES = "too_many_files"
    REFUSED = "refused"
    RATE_LIMITED = "rate_limited"
    FILE_NAME_LIMIT = "file_name_limit"
    TIMEOUT = "timeout"
    UPSTREAM_ERROR = "upstream_error"
    BREAKER_OPEN = "breaker_open"

    @property
    def advice(self) -> str:
        """What happened and the next step, in the words of no particular surface."""
        return _UPLOAD_ADVICE[self]


_UPLOAD_ADVICE = {
    UploadReason.NOT_AN_IMAGE: "It is not a JPEG, PNG or WebP image. Convert it, then upload it again.",
    UploadReason.FILE_TOO_LARGE: "It is larger than 20 MB. Reduce its size, then upload it again.",
    UploadReason.TOO_MANY_FILES: "The order is full. Upload it in another order.",
    UploadReason.REFUSED: "Autoenhance rejected it. Check the file, then upload it again.",
    UploadReason.RATE_LIMITED: "Autoenhance is limiting our requests. Upload it again in a minute.",
    UploadReason.FILE_NAME_LIMIT: (
        "Autoenhance accepts one file name at most 30 times an hour. Rename the file, or upload it again in an hour."
    ),
    UploadReason.TIMEOUT: "The upload to Autoenhance took too long. Upload it again.",
    UploadReason.UPSTREAM_ERROR: "Autoenhance could not store it. Upload it again later.",
    UploadReason.BREAKER_OPEN: "Autoenhance is failing; requests are paused. Upload it again in a minute.",
}
