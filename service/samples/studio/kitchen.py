"""A kitchen with an island, seen on a bright day."""

from itertools import pairwise

from service.samples.studio.arrays import grey, vec
from service.samples.studio.building import (
    BLACK,
    BRASS,
    CHROME,
    STEEL,
    WHITE,
    ball,
    box,
    opening,
    outdoors,
    placed,
    room,
    soft,
    tube,
    window,
)
from service.samples.studio.furniture import OAK, OAK_UP, pendant, plant, rod, stool, vase
from service.samples.studio.materials import Material, fabric, plain, planks, plaster, stone, tiles
from service.samples.studio.scene import Camera, Scene
from service.samples.studio.shapes import Shape

WIDTH, DEPTH, HEIGHT = 4.6, 5.6, 2.6
FRONT = plain(vec(0.13, 0.19, 0.17), 0.04, 0.35)
TOP = stone(vec(0.84, 0.83, 0.8), vec(0.45, 0.43, 0.41))
SILL = (1.35, 2.65, 1.12, 2.15)
SIDE = (2.0, 4.4, 0.85, 2.25)


def kitchen(scale: float) -> tuple[Scene, int]:
    """The scene, and its JPEG quality."""
    camera = Camera(vec(3.75, 1.42, 5.35), vec(1.9, 1.42, 0.0), round(1920 * scale), round(1280 * scale), 74, -0.12)
    scene = Scene(camera, outdoors(5.5), vec(0.08, 0.05, 0.08), vec(WIDTH - 0.08, HEIGHT - 0.05, DEPTH - 0.08))
    scene.sun, scene.sunlight = vec(-0.72, 0.52, 0.28), vec(1.0, 0.92, 0.8) * 3.6
    scene.exposure, scene.warmth = 2.1, -0.05
    scene.lights = [opening(2, 0.02, SILL, 1), opening(0, 0.02, SIDE, 1, 2)]
    _shell(scene)
    scene.add(_base_units(), _upper_units(), _tall_units(), _worktop(), _island())
    for x in (1.55, 2.25, 2.95):
        parts, bulb = pendant(BRASS, x, 1.78, 2.75, HEIGHT, 0.5)
        scene.add(parts)
        scene.lights.append(bulb)
    seat = fabric(vec(0.62, 0.54, 0.43))
    for x, yaw in ((1.5, 176.0), (2.2, 186.0), (2.9, 170.0)):
        scene.add(placed(stool(seat), x, 3.45, yaw))
    return scene, 84


def _shell(scene: Scene) -> None:
    paint = plaster(vec(0.83, 0.82, 0.8))
    tile = tiles(vec(0.8, 0.8, 0.77), 0.15, 0.075, grey(0.6), 0.06, 0.1, bond=0.5)
    floor = planks(vec(0.5, 0.35, 0.22), 2)
    size = (WIDTH, HEIGHT, DEPTH)
    scene.add(*room(size, floor, plaster(grey(0.86)), [tile, paint, paint, paint], {"north": [SILL], "west": [SIDE]}))
    scene.add(window(2, -0.25, SILL, 1), window(0, -0.25, SIDE, 2))
    scene.add(box(WHITE, (-0.2, 0.05), (0.82, 0.85), (SIDE[0] - 0.05, SIDE[1] + 0.05)))


def _front(
    x: tuple[float, float], y: tuple[float, float], z: float, *, drawer: bool, material: Material = FRONT
) -> list[Shape]:
    """A door or drawer with its handle."""
    gap = 0.002
    door = box(material, (x[0] + gap, x[1] - gap), (y[0] + gap, y[1] - gap), (z - 0.02, z), 0.003)
    middle = sum(x) / 2
    if drawer:
        ends = vec(middle - 0.09, y[1] - 0.05, z + 0.03), vec(middle + 0.09, y[1] - 0.05, z + 0.03)
    else:
        ends = vec(x[1] - 0.05, y[0] + 0.06, z + 0.03), vec(x[1] - 0.05, y[0] + 0.24, z + 0.03)
    feet = [rod(BRASS, end + vec(0, 0, -0.03), end, 0.004) for end in ends]
    return [door, rod(BRASS, *ends, 0.006), *feet]


def _base_units() -> list[Shape]:
    parts: list[Shape] = [
        box(plain(grey(0.05)), (0, 3.6), (0, 0.1), (0, 0.54)),
        box(FRONT, (0, 3.6), (0.1, 0.88), (0, 0.578)),
    ]
    for left in (0.0, 0.6, 2.4, 3.0):
        for bottom, top in ((0.1, 0.4), (0.4, 0.7), (0.7, 0.88)):
            parts += _front((left, left + 0.6), (bottom, top), 0.6, drawer=True)
    for left in (1.2, 1.8):
        parts += _front((left, left + 0.6), (0.1, 0.88), 0.6, drawer=True)
    return parts


def _upper_units() -> list[Shape]:
    parts: list[Shape] = [box(FRONT, (0, 1.2), (1.45, 2.3), (0, 0.33)), box(FRONT, (2.85, 3.6), (1.45, 2.3), (0, 0.33))]
    for span in ((0.0, 0.6), (0.6, 1.2), (2.85, 3.225), (3.225, 3.6)):
        parts += _front(span, (1.45, 2.3), 0.352, drawer=False)
    return [*parts, box(FRONT, (0, 1.2), (2.3, HEIGHT), (0, 0.3)), box(FRONT, (2.85, 3.6), (2.3, HEIGHT), (0, 0.3))]


def _tall_units() -> list[Shape]:
    glass = plain(grey(0.012), 0.06, 0.04)
    parts: list[Shape] = [
        box(FRONT, (3.6, WIDTH), (0.1, HEIGHT), (0, 0.6)),
        box(plain(grey(0.05)), (3.6, WIDTH), (0, 0.1), (0, 0.55)),
    ]
    parts += [
        box(glass, (3.62, 4.2), (0.85, 1.42), (0.6, 0.622), 0.004),
        box(STEEL, (3.62, 4.2), (1.42, 1.53), (0.6, 0.622)),
    ]
    parts += [
        rod(STEEL, vec(3.7, 1.36, 0.665), vec(4.12, 1.36, 0.665), 0.009),
        tube(BLACK, 3.8, 0.62, (1.46, 1.49), 0.015),
    ]
    parts += [rod(STEEL, vec(x, 1.36, 0.62), vec(x, 1.36, 0.665), 0.006) for x in (3.72, 4.1)]
    parts += _front((3.6, 4.22), (0.1, 0.83), 0.62, drawer=True) + _front((3.6, 4.22), (1.55, 2.45), 0.62, drawer=False)
    return [*parts, *_front((4.22, WIDTH), (0.1, 2.45), 0.62, drawer=False)]


def _worktop() -> list[Shape]:
    parts: list[Shape] = [box(TOP, (0, 3.6), (0.88, 0.91), (0, 0.63), 0.004)]
    parts += [
        box(STEEL, (1.7, 2.3), (0.905, 0.914), (0.1, 0.5), 0.003),
        box(plain(grey(0.1), 0.2, 0.3), (1.73, 2.27), (0.91, 0.916), (0.13, 0.47)),
    ]
    tap = [vec(2.0, 0.91, 0.07), vec(2.0, 1.2, 0.07), vec(2.0, 1.24, 0.12), vec(2.0, 1.24, 0.24), vec(2.0, 1.16, 0.26)]
    parts += [rod(CHROME, a, b, 0.012) for a, b in pairwise(tap)]
    parts += [ball(CHROME, p, 0.0125) for p in tap[1:-1]]
    parts += [
        box(OAK_UP, (0.35, 0.62), (0.91, 1.28), (0.02, 0.045), 0.01),
        vase(plain(vec(0.7, 0.6, 0.5), 0.04, 0.3), 0.85, 0.91, 0.22, 0.24),
    ]
    parts += [tube(STEEL, 3.0, 0.25, (0.91, 1.1), 0.075), ball(BLACK, vec(3.0, 1.12, 0.25), 0.02)]
    parts += [tube(WHITE, x, 0.22, (0.91, 1.05), 0.045) for x in (3.25, 3.37)]
    return [*parts, *placed(plant(0.42, 5, count=30), 2.72, 0.3, y=0.91)]


def _island() -> list[Shape]:
    parts: list[Shape] = [
        box(TOP, (0.95, 3.4), (0.88, 0.92), (2.3, 3.3), 0.005),
        box(OAK_UP, (1.0, 3.35), (0.08, 0.88), (2.35, 2.95), 0.004),
    ]
    parts += [box(plain(grey(0.05)), (1.05, 3.3), (0, 0.08), (2.4, 2.9))]
    parts += [soft(OAK, vec(1.5, 0.935, 2.7), vec(0.22, 0.012, 0.15), 0.011)]
    bowl = plain(vec(0.75, 0.72, 0.68), 0.05, 0.2)
    parts += [tube(bowl, 2.75, 2.65, (0.92, 0.975), 0.15)]
    lemon = plain(vec(0.8, 0.6, 0.08), 0.04, 0.35)
    spots = ((2.7, 2.62), (2.79, 2.6), (2.82, 2.7), (2.73, 2.71), (2.66, 2.69))
    parts += [ball(lemon, vec(x, 1.0, z), 0.038) for x, z in spots]
    return [*parts, ball(lemon, vec(2.75, 1.05, 2.66), 0.038)]
