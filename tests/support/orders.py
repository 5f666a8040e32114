"""Orders of many images, in short."""

from collections.abc import Callable

from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream, Script

OTHER = "0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be002"


def fill(
    upstream: FakeUpstream,
    count: int,
    *,
    order_id: str = ORDER,
    prefix: str = "i",
    script: Callable[[int], Script] = jpeg,
) -> dict[str, Script]:
    """An order of so many images, each what `script` makes of its number; returns what its archive holds, by name."""
    bodies = {f"{prefix}{number}": script(number) for number in range(count)}
    upstream.orders[order_id] = order(bodies, order_id=order_id)
    upstream.images |= bodies
    return {f"{image_id}.jpg": body for image_id, body in bodies.items()}


def fill_with(upstream: FakeUpstream, *image_ids: str) -> None:
    """An order of these images, all of them ready."""
    upstream.orders[ORDER] = order(image_ids)
    upstream.images |= {image_id: jpeg(number) for number, image_id in enumerate(image_ids)}
