"""What instances know of an order together: one document in S3, `generations/ORDER_ID`, written conditionally.

It says how each of the order's images was last seen, and which archives the order's addresses have named.
"""

import functools
import json
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import astuple, dataclass, field

from service.archives.named import REMEMBERED_SECONDS
from service.cluster.link import Unavailable
from service.cluster.objects import ObjectChanged, Objects
from service.computing import compute
from service.orders.generations import Observation
from service.telemetry.logs import get_logger

log = get_logger(__name__)

_TRIES = 10
# Longer ones take some milliseconds to be read.
_SHORT_BYTES = 64 * 1024
# What was read of late need not be read again to be written; so many short ones are kept.
_RECENT = 256
# No image has this id.
_NAMES = ""


@dataclass(frozen=True, slots=True)
class Naming:
    """The archive that an address named last, whether it has named no other, and when (epoch seconds)."""

    archive_id: str
    is_only: bool
    seen: float


@dataclass(frozen=True, slots=True)
class OrderDocument:
    """The images by id, the names by the key of their address."""

    observations: dict[str, Observation] = field(default_factory=dict)
    names: dict[str, Naming] = field(default_factory=dict)


class OrderDocuments:
    """Everything raises `Unavailable` when S3 does not answer."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._recent: OrderedDict[str, tuple[bytes, str | None]] = OrderedDict()

    async def read(self, order_id: str) -> OrderDocument:
        """The document as it is now; an empty one where there is none."""
        body, _ = await self._get(order_id)
        return await compute(lambda: _decode(body), is_short=len(body) <= _SHORT_BYTES)

    async def update(
        self,
        order_id: str,
        change: Callable[[OrderDocument], OrderDocument],
        *,
        may_be_recent: bool = False,
        is_short: bool = True,
    ) -> OrderDocument:
        """Write what `change` makes of the document, if that is another one; it is called again when another instance
        was quicker. Returns what is there now.

        `may_be_recent`: where nothing is to be changed, what was read of late will do. `is_short`: the change is; what
        is not, or is made to a long document, is made beside the event loop.
        """

        def make(body: bytes) -> tuple[OrderDocument, bytes | None]:
            document = _decode(body)
            changed = change(document)
            return changed, None if changed == document else _encode(changed)

        for attempt in range(_TRIES):
            recent = self._recent.get(order_id) if may_be_recent and not attempt else None
            body, tag = recent or await self._get(order_id)
            making = functools.partial(make, body)
            changed, written = await compute(making, is_short=is_short and len(body) <= _SHORT_BYTES)
            if written is not None:
                try:
                    await self._put(order_id, written, tag)
                except ObjectChanged:
                    continue
            return changed
        log.warning("an order's document changes too fast to be written", order_id=order_id)
        raise Unavailable(order_id)

    async def _get(self, order_id: str) -> tuple[bytes, str | None]:
        found = await self._objects.get(_name(order_id)) or (b"{}", None)
        self._keep(order_id, *found)
        return found

    async def _put(self, order_id: str, body: bytes, tag: str | None) -> None:
        self._keep(order_id, body, await self._objects.write(_name(order_id), body, tag))

    def _keep(self, order_id: str, body: bytes, tag: str | None) -> None:
        self._recent.pop(order_id, None)
        if len(body) <= _SHORT_BYTES:
            self._recent[order_id] = body, tag
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)


def _decode(body: bytes) -> OrderDocument:
    values = json.loads(body)
    names = values.pop(_NAMES, {})
    return OrderDocument(
        {image_id: Observation(*observation) for image_id, observation in values.items()},
        {key: Naming(*naming) for key, naming in names.items()},
    )


def _encode(document: OrderDocument) -> bytes:
    """Without the names that are too old to be remembered."""
    values: dict[str, object] = {
        image_id: astuple(observation) for image_id, observation in document.observations.items()
    }
    oldest = time.time() - REMEMBERED_SECONDS
    if names := {key: astuple(naming) for key, naming in document.names.items() if naming.seen > oldest}:
        values[_NAMES] = names
    return json.dumps(values).encode()


def _name(order_id: str) -> str:
    return f"generations/{order_id}"
