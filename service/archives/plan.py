"""What an archive will hold, decided before anything is fetched."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_serializer, field_validator, model_validator

from service.archives.names import ANY_NAME, folder_names, member_name, own_extension, stems_of
from service.archives.options import Options, kept_options
from service.archives.renditions import ORIGINAL
from service.images.identity import digest, key_digest
from service.images.legacy import StoredKey
from service.images.requests import ImageRequest
from service.problems import NothingNew, Problem
from service.upstream.models import HOPELESS, ImageState, Rendition

# Others are missing in an archive that does not wait for them.
_FETCHED = frozenset({ImageState.READY, ImageState.UNKNOWN})


# No model: there may be thousands, and each would take ten times the memory.
@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedImage:
    """One image of the archive in one rendition."""

    image_id: str
    name: str
    state: ImageState
    key: StoredKey
    """Of the image in the store; final once the image is ready."""
    modified: datetime
    is_bought: bool = False
    """Fetching it costs nothing, whatever the rendition."""
    status_reason: str | None = None
    """What Autoenhance says of its state, for its owner."""
    rendition: str = ""
    """Which of the plan's; an only one has no name."""
    folder: str = ""
    """In the archive."""
    source_id: str | None = None
    """Of an unaltered photo: the image that was uploaded, where this one was made from that."""
    stem: str | None = None
    """Its name in the archive, without folder and extension, where the names of all images do not tell it."""
    order: int = 0
    """Which of the plan's orders it is of: 0 is the first."""

    @property
    def is_original(self) -> bool:
        return self.rendition == ORIGINAL

    @property
    def entry(self) -> tuple[str, str]:
        """Which entry of the archive it is to be, as `Member.entry`."""
        return self.image_id, self.folder


class PlannedOrder(BaseModel):
    """An order whose images are to be in the archive."""

    model_config = ConfigDict(frozen=True)

    order_id: str
    name: str | None = None
    part: int | None = None
    """Which part of it, where it takes several archives and one is asked for."""
    total: int = 0
    """Files that are planned of it."""
    unlisted: int = 0
    """Images that no download has; of parts, told by the last one."""
    folder: str = ""
    """In the archive; of an order alone there is none."""
    key: str = ""
    """Of its plan, where it has a folder."""
    code: str | None = None
    """Why nothing of it can be had, as a problem's code."""
    reason: str = ""
    """The same for a person, with the next step."""

    @classmethod
    def failed(cls, order_id: str, name: str | None, problem: Problem) -> "PlannedOrder":
        """An order of which nothing can be had."""
        reason = f"{problem.title}. {problem}"
        return cls(order_id=order_id, name=name, code=problem.code, reason=reason, key=problem.code)

    @property
    def failure(self) -> dict[str, Any]:
        """Why nothing of it can be had, in every document."""
        return {"order_id": self.order_id, "code": self.code, "reason": self.reason}


class Plan(BaseModel):
    """The images of one archive: order by order, rendition by rendition, in the order's sequence. Kept with it."""

    model_config = ConfigDict(frozen=True)

    orders: tuple[PlannedOrder, ...]
    options: Options
    """What it was made of, as `Options.of_plan`."""
    images: tuple[PlannedImage, ...]
    key: str
    """Equal for requests that ask for the same bytes of the same images."""
    options_key: str = Field(validation_alias=AliasChoices("options_key", "family"))
    """Equal for requests that ask for the same, whatever the images are now."""

    @model_validator(mode="before")
    @classmethod
    def _of_an_earlier_version(cls, values: object) -> object:
        """Those had one order each, and before that one rendition, and the parts of their options by themselves."""
        if not isinstance(values, dict):
            return values
        if "orders" not in values:
            order = {"order_id": values.get("order_id"), "name": values.get("order_name")}
            counts = {"total": len(values.get("images") or ()), "unlisted": values.get("unlisted", 0)}
            values = values | {"orders": [order | counts]}
        if "options" in values:
            return values
        rendition: dict[str, Any] = values.get("rendition") or values.get("rendering") or {}
        options = {**rendition, "image": tuple(values.get("subset") or ()), "part": values.get("part")}
        if values.get("wait"):
            options |= {"wait": True, "wait_timeout": values.get("wait_timeout", 0)}
        return values | {"options": options}

    @field_validator("options", mode="before")
    @classmethod
    def _as_kept(cls, options: object) -> object:
        return kept_options(options) if isinstance(options, dict) else options

    @field_serializer("options")
    def _as_asked(self, options: Options) -> dict[str, Any]:
        """Defaults are not what somebody asked for: some options exclude others."""
        return options.model_dump(mode="json", exclude_unset=True)

    @property
    def order_id(self) -> str:
        """Of the only order, or the first."""
        return self.orders[0].order_id

    @property
    def wait(self) -> bool:
        return self.options.wait

    @property
    def wait_timeout(self) -> float:
        return self.options.wait_timeout if self.options.wait else 0

    @property
    def build_key(self) -> str:
        """Equal for requests that may share a build: those that wait for images, and those that do not, for which the
        same images are ready.
        """
        if self.wait:
            return f"{self.key}/wait"
        left_out = [image.entry for image in self.images if image.state not in _FETCHED]
        return f"{self.key}/{digest(left_out)}" if left_out else self.key

    @property
    def stems(self) -> dict[str, str]:
        """What its images are called in the archive, without folder and extension, by image id."""
        stems = {image.image_id: image.stem for image in self.images if image.stem is not None}
        return stems or stems_of((image.image_id, image.name) for image in self.images)

    def rendition(self, image: PlannedImage) -> Rendition:
        original = self.options.original
        return original if image.is_original and original else self.options.renditions[image.rendition]

    def request(self, image: PlannedImage) -> ImageRequest:
        image_id, order_id = image.source_id or image.image_id, self.orders[image.order].order_id
        return ImageRequest(image.key, image_id, self.rendition(image), image.is_bought, order_id)

    def without(self, known: Collection[bytes]) -> "Plan":
        """The plan without images whose keys (as `key_digest`) are known already; names are those of the whole."""
        if not known:
            return self
        stems = self.stems
        images = tuple(
            replace(image, stem=stems[image.image_id]) for image in self.images if key_digest(image.key) not in known
        )
        counts = Counter(image.order for image in images)
        orders = tuple(order.model_copy(update={"total": counts[at]}) for at, order in enumerate(self.orders))
        return self.model_copy(update={"images": images, "orders": orders})

    def new_since(self, known: Collection[bytes]) -> "Plan":
        """As `without`. Raises `NothingNew` when all of it is known."""
        plan = self.without(known)
        if not plan.images:
            raise NothingNew
        return plan

    def replaced(self, order: int, plan: "Plan") -> "Plan":
        """The plan with one of its orders as `plan`, which is of that order alone, has it now."""
        if not self.orders[order].folder:
            return plan
        planned, images = _in_folder(plan, order, self.orders[order].folder)
        orders = (*self.orders[:order], planned, *self.orders[order + 1 :])
        first, last = (
            bisect(self.images, order, key=lambda image: image.order) for bisect in (bisect_left, bisect_right)
        )
        images = (*self.images[:first], *images, *self.images[last:])
        return self.model_copy(update={"orders": orders, "images": images, "key": _key(orders)})

    def file_name(self, image: PlannedImage, stems: Mapping[str, str], extension: str) -> str:
        """What one of its images is called in the archive; `stems` are its own, `extension` is that of its bytes."""
        if image.is_original:
            extension = own_extension(image.name, extension)
        stem = stems[image.image_id] if image.stem is None else image.stem
        return member_name(stem, extension, image.folder)

    def to_buy(self, stored: Collection[str]) -> int:
        """Images that a build would buy, a credit each, if those under the keys in `stored` are stored."""
        return len(
            {
                image.image_id
                for image in self.images
                if image.state not in HOPELESS and image.key not in stored and self.request(image).buys
            }
        )

    @property
    def entries(self) -> dict[tuple[str | None, str], PlannedImage]:
        """Its images, by what `Member.entry` says of them."""
        return {image.entry: image for image in self.images}

    @property
    def keys(self) -> list[str]:
        return [image.key for image in self.images]


def options_key(order_id: str, options: Options) -> str:
    """The archive's identity without its images."""
    renditions = {name: one.model_dump(exclude_none=True) for name, one in options.renditions.items()}
    more: dict[str, Any] = {"names": options.names} if options.names != ANY_NAME else {}
    if options.include:
        more["include"] = options.include
    if options.since is not None:
        more["since"] = options.since
    return digest(order_id, renditions.get("", renditions), options.subset, options.part, *([more] if more else []))


def join(plans: Sequence["Plan | PlannedOrder"], options: Options) -> Plan:
    """The plan of an archive of several orders, a folder each; of an order that failed there is no plan."""
    orders = [plan.orders[0] if isinstance(plan, Plan) else plan for plan in plans]
    folders = folder_names([(order.order_id, order.name) for order in orders])
    parts = [
        _in_folder(plan, at, folder) if isinstance(plan, Plan) else (plan.model_copy(update={"folder": folder}), ())
        for at, (plan, folder) in enumerate(zip(plans, folders, strict=True))
    ]
    return Plan(
        orders=tuple(order for order, _ in parts),
        options=options.of_plan,
        images=tuple(image for _, images in parts for image in images),
        key=_key([order for order, _ in parts]),
        options_key=digest("orders", [options_key(order.order_id, options) for order in orders]),
    )


def _in_folder(plan: Plan, at: int, folder: str) -> tuple[PlannedOrder, Sequence[PlannedImage]]:
    """An order and its images, of its plan alone, as they are in a plan of several."""
    stems = plan.stems
    images = [
        replace(
            image,
            order=at,
            folder=f"{folder}/{image.folder}" if image.folder else folder,
            stem=stems[image.image_id],
        )
        for image in plan.images
    ]
    return plan.orders[0].model_copy(update={"folder": folder, "key": plan.key}), images


def _key(orders: Sequence[PlannedOrder]) -> str:
    """Of an archive of several orders."""
    return digest("orders", [(order.order_id, order.folder, order.key) for order in orders])
