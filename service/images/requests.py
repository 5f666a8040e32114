"""What is asked of a fetch, what the fetches of one build share, and what comes of each."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from service.images.blobs import Blob
from service.images.identity import image_key, split_key
from service.reasons import Reason
from service.upstream.answers import UpstreamFailure
from service.upstream.models import Rendition

# After so many seconds of nothing but 429s, the rest of a build is given up.
_THROTTLED_SECONDS = 60.0


class ImageFailed(Exception):
    """An image could not be fetched, for good."""

    def __init__(self, reason: Reason, attempts: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.attempts = attempts


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """One image in one rendition."""

    key: str
    image_id: str
    rendition: Rendition
    is_bought: bool = False
    """Fetching it costs nothing, whatever the rendition."""
    order_id: str = ""
    """The order that it is of: its images are shared together."""

    @property
    def buys(self) -> bool:
        return self.rendition.buys and not self.is_bought

    @property
    def purchase(self) -> str:
        """What a credit buys: one generation of the image, in whatever rendition."""
        return image_key(self.image_id, split_key(self.key)[1])


@dataclass(slots=True)
class FetchContext:
    """What the fetches of one build share: whose turn they take, whether they are wanted, and what ended them."""

    build: str
    caller: str = ""
    is_wanted: Callable[[], bool] = lambda: True
    behind: bool = False
    """After all other downloads, in few slots: for thumbnails."""
    out_of_credit: bool = False
    storing: int = 0
    """Bytes that were downloaded and are being stored."""
    joined: list[str] = field(default_factory=list)
    """Further callers who want what the build is of: its downloads take the turns of all of them."""
    looked_at: Mapping[str, float] = field(default_factory=dict)
    """When the build last looked for an image in the store (of `time.monotonic`), by key; of those it looked for."""
    throttled_since: float | None = None
    """Since when Autoenhance has answered nothing but 429 (of `time.monotonic`)."""
    throttled_seconds: float = 0.0
    """How long after that it last did so."""

    @property
    def callers(self) -> tuple[str, ...]:
        """Whose turns they take."""
        return (self.caller, *self.joined)

    def refusal(self, image: ImageRequest) -> Reason | None:
        """Why no further image is fetched for this build."""
        if self.out_of_credit and image.buys:
            return Reason.NO_CREDIT
        if self.throttled_since is not None and self.throttled_seconds > _THROTTLED_SECONDS:
            return Reason.RATE_LIMITED
        return None

    def note(self, image: ImageRequest, failure: UpstreamFailure | None) -> None:
        """Remember what one attempt says about those that are still to be fetched."""
        if failure is None or not failure.is_throttled:
            self.throttled_since = None
        else:
            now = time.monotonic()
            self.throttled_since = now if self.throttled_since is None else self.throttled_since
            self.throttled_seconds = now - self.throttled_since
        if failure is not None and failure.reason is Reason.NO_CREDIT and image.buys:
            self.out_of_credit = True


@dataclass(frozen=True, slots=True)
class Fetched:
    """An image that is in the store."""

    blob: Blob
    attempts: int
    """0 when it was there already."""
