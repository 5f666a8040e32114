"""A bedroom in the morning."""

import numpy as np

from service.samples.studio.arrays import Array, fractal, grey, rotation, vec
from service.samples.studio.building import (
    BLACK,
    BRASS,
    LINEN,
    WHITE,
    box,
    curtain,
    opening,
    outdoors,
    placed,
    room,
    soft,
    tube,
    window,
)
from service.samples.studio.furniture import OAK, books, painting, pillow, plant, rod, rug, table_lamp, vase, woven
from service.samples.studio.materials import Material, fabric, plain, planks, plaster
from service.samples.studio.scene import Camera, Scene
from service.samples.studio.shapes import Shape, Solid, rounded

SIZE = (4.6, 2.6, 4.9)
VIEW = (1.5, 3.3, 0.75, 2.25)


def bedroom(scale: float) -> tuple[Scene, int]:
    """The scene, and its JPEG quality."""
    camera = Camera(vec(0.55, 1.38, 4.6), vec(2.75, 1.38, 0.6), round(1800 * scale), round(1200 * scale), 76, -0.12)
    scene = Scene(camera, outdoors(5.0), vec(0.08, 0.05, 0.08), vec(4.52, 2.55, 4.82))
    scene.sun, scene.sunlight = vec(0.78, 0.55, 0.2), vec(1.0, 0.9, 0.76) * 3.4
    scene.exposure, scene.warmth = 2.3, -0.03
    scene.lights = [opening(0, 4.58, VIEW, -1, 2)]
    paint, feature = plaster(vec(0.84, 0.82, 0.79)), plaster(vec(0.3, 0.37, 0.43))
    floor = planks(vec(0.58, 0.45, 0.32), 2, 0.18, 2.0)
    scene.add(*room(SIZE, floor, plaster(grey(0.86)), [feature, paint, paint, paint], {"east": [VIEW]}))
    scene.add(window(0, 4.72, VIEW, 1, depth=0), box(WHITE, (4.54, 4.8), (0.71, 0.75), (1.45, 3.35)))
    scene.add(curtain(LINEN, (0.95, 1.6), (0.02, 2.42), 4.48, 0), curtain(LINEN, (3.2, 3.85), (0.02, 2.42), 4.48, 0))
    scene.add(rod(BRASS, vec(4.48, 2.44, 0.85), vec(4.48, 2.44, 3.95), 0.012))
    scene.add(
        placed(_bed(), 2.3, 0.06),
        placed(rug(woven(vec(0.75, 0.72, 0.66), vec(0.5, 0.45, 0.4), 0.3), 3.2, 2.2), 2.3, 2.3),
    )
    for x in (0.85, 3.75):
        lamp, bulb = table_lamp(x, 0.52, 0.28, 0.45)
        scene.add(lamp, placed(_nightstand(), x, 0.25))
        scene.lights.append(bulb)
    scene.add(placed(painting(1.3, 0.7, 9, BRASS), 2.3, 0.005, y=1.78), placed(plant(1.25, 8, count=56), 4.1, 0.8))
    scene.add(_bench(), _wardrobe())
    return scene, 80


def _duvet(material: Material, centre: Array, half: Array) -> Solid:
    block = rounded(half - 0.015, 0.07)

    def field(p: Array) -> Array:
        q = p * vec(1.6, 0.8, 2.6) + centre
        folds = fractal(q * 1.3 + 1.2 * fractal(q * 0.8, 2), 4)
        ridge = np.abs(fractal(q * 2.1 + 4, 3) - 0.5)
        return (block(p) - 0.045 * (folds - 0.5) - 0.028 * np.maximum(0.12 - ridge, 0) / 0.12) * 0.6

    return Solid(material, centre, half + 0.035, field=field, steps=80)


def _bed() -> list[Shape]:
    linen, cover, throw = (
        fabric(vec(0.84, 0.83, 0.81), 300, 0.0006, 0.06),
        fabric(vec(0.8, 0.78, 0.75), 300, 0.0006, 0.08),
        fabric(vec(0.36, 0.25, 0.16), 120, 0.004),
    )
    grey_linen, velvet = fabric(vec(0.5, 0.48, 0.46)), fabric(vec(0.26, 0.33, 0.4))
    parts: list[Shape] = [soft(velvet, vec(0, 0.17, 1.05), vec(0.84, 0.13, 1.05), 0.03)]
    parts += [soft(velvet, vec(-0.66 + 0.33 * i, 0.68, 0.02), vec(0.163, 0.56, 0.055), 0.04) for i in range(5)]
    parts += [
        soft(linen, vec(0, 0.42, 1.05), vec(0.8, 0.13, 1.0), 0.06),
        _duvet(cover, vec(0, 0.45, 1.35), vec(0.87, 0.17, 0.74)),
    ]
    parts += [_duvet(throw, vec(0, 0.475, 1.75), vec(0.89, 0.165, 0.27))]
    for side in (-1, 1):
        parts.append(pillow(linen, vec(side * 0.4, 0.78, 0.2), 0.33, rotation(2 * side, -24, 0), 0.12))
        parts.append(pillow(linen, vec(side * 0.39, 0.72, 0.38), 0.3, rotation(-5 * side, -34, 3 * side), 0.11))
    parts.append(pillow(grey_linen, vec(-0.12, 0.72, 0.56), 0.22, rotation(8, -32, 4), 0.09))
    return [*parts, pillow(velvet, vec(0.2, 0.69, 0.62), 0.18, rotation(-12, -36, -6), 0.08)]


def _nightstand() -> list[Shape]:
    parts: list[Shape] = [
        box(OAK, (-0.24, 0.24), (0.2, 0.52), (-0.22, 0.2), 0.006),
        box(OAK, (-0.22, 0.22), (0.37, 0.5), (0.2, 0.215)),
    ]
    parts += [
        box(OAK, (-0.22, 0.22), (0.22, 0.36), (0.2, 0.215)),
        rod(BRASS, vec(-0.05, 0.44, 0.235), vec(0.05, 0.44, 0.235), 0.006),
    ]
    parts += [rod(BRASS, vec(-0.05, 0.29, 0.235), vec(0.05, 0.29, 0.235), 0.006)]
    parts += [tube(BLACK, x, z, (0, 0.2), 0.014) for x in (-0.2, 0.2) for z in (-0.18, 0.16)]
    return [*parts, box(fabric(vec(0.5, 0.2, 0.14), 300, 0.0003), (0.05, 0.2), (0.52, 0.545), (0.02, 0.19), 0.004)]


def _bench() -> list[Shape]:
    parts: list[Shape] = [soft(fabric(vec(0.62, 0.57, 0.5)), vec(2.3, 0.43, 2.52), vec(0.65, 0.06, 0.19), 0.04)]
    return [*parts, *(tube(BRASS, x, z, (0, 0.38), 0.013) for x in (1.75, 2.85) for z in (2.38, 2.66))]


def _wardrobe() -> list[Shape]:
    front = plain(vec(0.8, 0.79, 0.77), 0.04, 0.3)
    parts: list[Shape] = [box(front, (0, 0.3), (0.05, 2.3), (0.9, 2.5))]
    for z in (0.9, 1.43, 1.96):
        parts += [
            box(front, (0.3, 0.32), (0.06, 2.29), (z + 0.003, z + 0.53)),
            rod(BRASS, vec(0.345, 1.0, z + 0.48), vec(0.345, 1.3, z + 0.48), 0.006),
        ]
    return [*parts, vase(plain(vec(0.6, 0.5, 0.4), 0.04), 0.16, 2.3, 1.4, 0.2), *books(0.05, 2.3, 2.0, 0.2, 77)]
