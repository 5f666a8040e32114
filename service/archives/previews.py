"""What a request would get, and what that would cost. Nothing is started."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import nullcontext
from typing import TypeVar

from service.archives.build import BuildContext
from service.archives.options import Options
from service.archives.plan import Plan
from service.archives.registry import Registry
from service.computing import MANY_IMAGES, compute
from service.images.blobs import Blob
from service.problems import InvalidParameter, MaxCreditsExceeded, StillBuilding
from service.upstream.models import Order

T = TypeVar("T")

_BUILDING_SECONDS = 2.0


class Previews:
    """Tells of orders what an archive would hold."""

    def __init__(self, context: BuildContext, registry: Registry) -> None:
        self._catalogue = context.catalogue
        self._store = context.store
        self._generations = context.generations
        self._planner = context.planner
        self._registry = registry
        # A plan of ten thousand images in several renditions takes a hundred megabytes.
        self._large = asyncio.Semaphore(1)

    async def preview(
        self, order_id: str, order: Order, options: Options, describe: Callable[[Plan, Mapping[str, Blob]], T]
    ) -> T:
        """What `describe` makes of the plan of an order, however large it is, and of those of its images that are
        stored, by key. Of large orders one at a time, beside the event loop. Raises as `keys_since` and `Planner.plan`.
        """
        generations = await self._generations.observe(order_id, order)
        known = await self.keys_since(order_id, options)
        is_short = len(order.images) * options.files_per_image <= MANY_IMAGES

        def outline() -> Plan:
            return self._planner.outline(order_id, order, generations, options).without(known)

        async with nullcontext() if is_short else self._large:
            plan = await compute(outline, is_short=is_short)
            stored = await self._store.find(plan.keys)
            return await compute(lambda: describe(plan, stored), is_short=is_short)

    async def keys_since(self, order_id: str, options: Options) -> Collection[bytes]:
        """Keys of the images that a caller has already. Raises `InvalidParameter`, or `StillBuilding`."""
        if options.since is None:
            return ()
        if options.since in self._registry.builds:
            raise StillBuilding(retry_after=_BUILDING_SECONDS)
        found = await self._catalogue.image_keys(options.since)
        if found is None or order_id not in found[0]:
            raise InvalidParameter("since", "must be an archive of this order, at most 30 days old")
        return found[1]

    async def check_price(self, plans: Iterable[Plan], options: Options) -> None:
        """Raises `MaxCreditsExceeded` when they would buy more than their caller wants, whoever builds them."""
        if options.max_credits is None:
            return
        to_buy = 0
        for plan in plans:
            to_buy += plan.to_buy(() if options.refresh else await self._store.find(plan.keys))
        if to_buy > options.max_credits:
            raise MaxCreditsExceeded(to_buy, options.max_credits)
