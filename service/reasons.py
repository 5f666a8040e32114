"""Why an image or a file is missing although its request went through: a code, and words for a person."""

from enum import StrEnum


class Reason(StrEnum):
    """Why one image is missing from an archive: the code, and in `words` what its person can do."""

    NOT_READY = "not_ready"
    NOT_UPLOADED = "not_uploaded"
    ENHANCEMENT_FAILED = "enhancement_failed"
    EXPIRED = "expired"
    IMAGE_NOT_FOUND = "image_not_found"
    NO_CREDIT = "no_credit"
    REFUSED = "refused"
    REJECTED = "rejected"
    RATE_LIMITED = "rate_limited"
    UPSTREAM_ERROR = "upstream_error"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    TRUNCATED = "truncated"
    NOT_AN_IMAGE = "not_an_image"
    BAD_REDIRECT = "bad_redirect"
    BREAKER_OPEN = "breaker_open"
    STORE_FULL = "store_full"
    INTERNAL_ERROR = "internal_error"

    @property
    def words(self) -> str:
        """One sentence for a person, with the next step."""
        return _WORDS[self]


_WORDS = {
    Reason.NOT_READY: "Autoenhance is still working on it. Ask again later, or with wait=true.",
    Reason.NOT_UPLOADED: "It was registered but never uploaded to Autoenhance. Upload it, then ask again.",
    Reason.ENHANCEMENT_FAILED: "Autoenhance could not enhance it. Process it again there, then ask again.",
    Reason.EXPIRED: "Autoenhance no longer keeps it. Upload it again.",
    Reason.IMAGE_NOT_FOUND: "Autoenhance does not know this image any more.",
    Reason.NO_CREDIT: "The Autoenhance account has no credit left. Top it up, then ask again.",
    Reason.REFUSED: "Autoenhance refuses this service's key for it.",
    Reason.REJECTED: "Autoenhance does not accept the request for it. Try other options.",
    Reason.RATE_LIMITED: "Autoenhance asked to slow down. Ask again in a minute.",
    Reason.UPSTREAM_ERROR: "Autoenhance answered with an error, several times. Ask again later.",
    Reason.TIMEOUT: "It did not arrive in time. Ask again later.",
    Reason.UNREACHABLE: "The connection to Autoenhance failed. Ask again later.",
    Reason.TRUNCATED: "It broke off on the way, several times. Ask again later.",
    Reason.NOT_AN_IMAGE: "What Autoenhance sent is not an image. Ask again later.",
    Reason.BAD_REDIRECT: "Autoenhance pointed to an address that cannot be used. Ask again later.",
    Reason.BREAKER_OPEN: "Autoenhance failed repeatedly and is given a rest. Ask again in a minute.",
    Reason.STORE_FULL: "This service had no room to store it. Ask again later.",
    Reason.INTERNAL_ERROR: "Something went wrong on our side. Ask again later.",
}


class UploadReason(StrEnum):
    """Why one file of a new order did not get there: the code, and in `words` what its person can do."""

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
    def words(self) -> str:
        """One sentence for a person, with the next step."""
        return _UPLOAD_WORDS[self]


_UPLOAD_WORDS = {
    UploadReason.NOT_AN_IMAGE: "It is not a JPEG, PNG or WebP image. Convert it, then send it again.",
    UploadReason.FILE_TOO_LARGE: "It is larger than 20 MB. Make it smaller, then send it again.",
    UploadReason.TOO_MANY_FILES: "The order is full. Send it with another order.",
    UploadReason.REFUSED: "Autoenhance does not accept it.",
    UploadReason.RATE_LIMITED: "Autoenhance asked to slow down. Send it again in a minute.",
    UploadReason.FILE_NAME_LIMIT: (
        "Autoenhance accepts one file name at most 30 times an hour. Rename the file, or upload it again in an hour."
    ),
    UploadReason.TIMEOUT: "It could not be sent to Autoenhance in time. Send it again.",
    UploadReason.UPSTREAM_ERROR: "Autoenhance could not take it. Send it again later.",
    UploadReason.BREAKER_OPEN: "Autoenhance failed repeatedly and is given a rest. Send it again in a minute.",
}
