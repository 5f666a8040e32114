"""A bathroom with a freestanding tub."""

from itertools import pairwise

import numpy as np

from service.samples.studio.arrays import Array, grey, rotation, vec
from service.samples.studio.building import (
    BLACK,
    BRASS,
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
from service.samples.studio.furniture import OAK, plant, rod, rug, vase
from service.samples.studio.materials import Material, fabric, glowing, metal, plain, plaster, stone, tiles
from service.samples.studio.scene import Camera, Panel, Scene
from service.samples.studio.shapes import Shape, Solid

SIZE = (3.3, 2.55, 3.9)
VIEW = (0.9, 2.3, 1.05, 2.2)
ENAMEL = plain(vec(0.86, 0.86, 0.85), 0.05, 0.08)


def bathroom(scale: float) -> tuple[Scene, int]:
    """The scene, and its JPEG quality."""
    camera = Camera(vec(2.95, 1.4, 3.65), vec(1.1, 1.4, 0.4), round(1600 * scale), round(1200 * scale), 76, -0.2)
    scene = Scene(camera, outdoors(5.0), vec(0.08, 0.05, 0.08), vec(3.22, 2.5, 3.82), spacing=0.3)
    scene.sun, scene.sunlight = vec(0.28, 0.6, -0.75), vec(1.0, 0.92, 0.8) * 3
    scene.exposure, scene.warmth = 3.5, -0.04
    scene.penumbra = 0.003
    glow = vec(1, 0.86, 0.7) * 3.6
    strip = Panel(vec(0.09, 1.98, 1.55), vec(0, 0, 1.4), vec(0.03, 0, 0), glow)
    scene.lights = [opening(2, 0.02, VIEW, 1, 2), strip]
    marble = tiles(vec(0.76, 0.75, 0.73), 0.9, 0.45, grey(0.55), 0.05, 0.1, bond=0.0, vary=0.03, vein=0.22)
    slate = tiles(vec(0.42, 0.42, 0.41), 0.6, 0.6, grey(0.28), 0.05, 0.18, vary=0.12, vein=0.2)
    green = tiles(vec(0.17, 0.29, 0.25), 0.075, 0.2, grey(0.6), 0.06, 0.08, vary=0.2)
    holes = {"north": [VIEW]}
    scene.add(*room(SIZE, slate, plaster(grey(0.86)), [marble, green, marble, marble], holes, skirting=False))
    scene.add(window(2, -0.22, VIEW, 1), box(WHITE, (0.85, 2.35), (1.01, 1.05), (-0.2, 0.04)))
    scene.add(*_tub(), _vanity(), _mirror(), placed(_stool(), 2.75, 1.5, 25), _towels())
    scene.add(
        placed(plant(1.05, 12, count=50), 2.85, 0.45),
        placed(rug(fabric(vec(0.72, 0.7, 0.66), 90, 0.006), 1.1, 0.65), 1.2, 2.15, 4),
    )
    return scene, 82


def _oval(p: Array, x: Array, z: Array) -> Array:
    return np.asarray((np.sqrt((p[0] / x) ** 2 + (p[2] / z) ** 2) - 1) * np.minimum(x, z))


def _vessel(material: Material, centre: Array, half: Array, wall: float, taper: float) -> Solid:
    """An oval basin: wider at the top, hollow."""
    x, y, z = (float(v) for v in half[:, 0])

    def field(p: Array) -> Array:
        grow = 1 + taper * (p[1] / y - 1) * 0.5
        outer = np.maximum(_oval(p, (x - 0.004) * grow, (z - 0.004) * grow), np.abs(p[1]) - y + 0.004)
        inner = np.maximum(_oval(p, (x - wall) * grow, (z - wall) * grow), -(p[1] + y - wall * 1.6))
        return np.asarray(np.maximum(outer, -inner) * 0.7 - 0.003)

    return Solid(material, centre, half, field=field, steps=80)


def _tub() -> list[list[Shape]]:
    parts: list[Shape] = [_vessel(ENAMEL, vec(1.55, 0.3, 0.62), vec(0.85, 0.3, 0.4), 0.045, 0.16)]
    tap = [vec(0.55, 0, 0.62), vec(0.55, 0.95, 0.62), vec(0.62, 1.0, 0.62), vec(0.78, 1.0, 0.62), vec(0.8, 0.93, 0.62)]
    pipes: list[Shape] = [rod(BRASS, a, b, 0.014) for a, b in pairwise(tap)]
    pipes += [ball(BRASS, p, 0.0145) for p in tap[1:-1]]
    pipes += [tube(BRASS, 0.55, 0.62, (0, 0.015), 0.05), rod(BRASS, vec(0.55, 0.78, 0.62), vec(0.55, 0.8, 0.72), 0.01)]
    tray: list[Shape] = [box(OAK, (1.6, 1.8), (0.6, 0.618), (0.2, 1.04), 0.005)]
    tray += [
        tube(plain(vec(0.8, 0.72, 0.6), 0.04), 1.7, 0.5, (0.618, 0.7), 0.035),
        soft(fabric(vec(0.75, 0.73, 0.7), 90, 0.004), vec(1.7, 0.64, 0.75), vec(0.08, 0.03, 0.11), 0.025),
    ]
    return [parts, pipes, tray]


def _vanity() -> list[Shape]:
    top = stone(vec(0.83, 0.82, 0.8), vec(0.5, 0.48, 0.46))
    parts: list[Shape] = [
        box(OAK, (0, 0.48), (0.42, 0.82), (1.5, 3.0), 0.004),
        box(top, (0, 0.51), (0.82, 0.85), (1.48, 3.02), 0.004),
    ]
    parts += [
        box(OAK, (0.48, 0.497), (y, y + 0.192), (z + 0.003, z + 0.747), 0.003)
        for y in (0.425, 0.622)
        for z in (1.5, 2.25)
    ]
    parts += [rod(BRASS, vec(0.515, y, z), vec(0.515, y, z + 0.2), 0.006) for y in (0.58, 0.775) for z in (1.77, 2.52)]
    for z in (1.88, 2.62):
        parts += [_vessel(ENAMEL, vec(0.26, 0.915, z), vec(0.17, 0.065, 0.23), 0.014, 0.25)]
        parts += [
            tube(BRASS, 0.06, z, (0.85, 1.1), 0.013),
            rod(BRASS, vec(0.06, 1.1, z), vec(0.2, 1.1, z), 0.012),
            ball(BRASS, vec(0.06, 1.1, z), 0.014),
        ]
        parts += [rod(BRASS, vec(0.2, 1.1, z), vec(0.2, 1.075, z), 0.012)]
    soap = plain(vec(0.35, 0.2, 0.1), 0.04, 0.15)
    parts += [
        tube(soap, 0.16, 2.25, (0.85, 0.98), 0.033),
        tube(BLACK, 0.16, 2.25, (0.98, 1.01), 0.012),
        rod(BLACK, vec(0.16, 1.01, 2.25), vec(0.21, 1.01, 2.25), 0.005),
    ]
    return [
        *parts,
        vase(plain(vec(0.75, 0.7, 0.62), 0.04, 0.3), 0.2, 0.85, 2.95, 0.17),
        soft(fabric(vec(0.8, 0.79, 0.77), 90, 0.004), vec(0.28, 0.61, 2.2), vec(0.01, 0.01, 0.01), 0.005),
    ]


def _mirror() -> list[Shape]:
    silver = metal(vec(0.9, 0.92, 0.91), 0.0)
    lamp = box(glowing(vec(1, 0.86, 0.7), 7), (0.09, 0.12), (1.985, 2.0), (1.55, 2.95), 0)
    lamp.casts = False
    return [
        box(silver, (0.02, 0.03), (1.15, 1.92), (1.55, 2.95), 0),
        box(BLACK, (0.0, 0.022), (1.14, 1.93), (1.54, 2.96)),
        box(BLACK, (0.0, 0.12), (2.0, 2.02), (1.55, 2.95)),
        lamp,
    ]


def _stool() -> list[Shape]:
    """A stool with folded towels."""
    cloths = [fabric(vec(0.76, 0.74, 0.7), 90, 0.004), fabric(vec(0.35, 0.42, 0.38), 90, 0.004)]
    parts: list[Shape] = [tube(OAK, 0, 0, (0.42, 0.45), 0.19)]
    parts += [rod(OAK, vec(x, 0, z), vec(x * 0.7, 0.42, z * 0.7), 0.014) for x in (-0.17, 0.17) for z in (-0.17, 0.17)]
    parts += [soft(cloths[i % 2], vec(0, 0.485 + 0.066 * i, 0), vec(0.15, 0.032, 0.11), 0.03) for i in range(3)]
    return parts


def _towels() -> list[Shape]:
    cloth = fabric(vec(0.7, 0.66, 0.6), 90, 0.005)
    rail: list[Shape] = [rod(BRASS, vec(3.23, 1.25, 1.9), vec(3.23, 1.25, 2.6), 0.009)]
    return [*rail, soft(cloth, vec(3.23, 1.0, 2.2), vec(0.02, 0.27, 0.2), 0.018, rotation())]
