"""All pictures by name."""

from collections.abc import Callable

from service.samples.studio.bathroom import bathroom
from service.samples.studio.bedroom import bedroom
from service.samples.studio.dining_room import dining_room
from service.samples.studio.facade import facade
from service.samples.studio.kitchen import kitchen
from service.samples.studio.living_room import living_room
from service.samples.studio.scene import Scene
from service.samples.studio.terrace import terrace

PICTURES: dict[str, Callable[[float], tuple[Scene, int]]] = {
    "bathroom": bathroom,
    "bedroom": bedroom,
    "dining_room": dining_room,
    "facade": facade,
    "kitchen": kitchen,
    "living_room": living_room,
    "terrace": terrace,
}
