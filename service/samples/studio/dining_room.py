"""A dining room, upright format."""

from service.samples.studio.arrays import grey, vec
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
    tube,
    window,
)
from service.samples.studio.furniture import (
    WALNUT,
    WALNUT_UP,
    books,
    chair,
    painting,
    pendant,
    plant,
    rod,
    rug,
    table,
    vase,
    woven,
)
from service.samples.studio.materials import fabric, metal, plain, planks, plaster
from service.samples.studio.scene import Camera, Scene
from service.samples.studio.shapes import Shape

SIZE = (4.2, 2.9, 5.2)
VIEW = (1.0, 3.4, 0.05, 2.45)


def dining_room(scale: float) -> tuple[Scene, int]:
    """The scene, and its JPEG quality."""
    camera = Camera(vec(3.3, 1.45, 5.0), vec(1.85, 1.45, 0.5), round(1600 * scale), round(2000 * scale), 62, -0.2)
    scene = Scene(camera, outdoors(5.5), vec(0.08, 0.05, 0.08), vec(4.12, 2.85, 5.12))
    scene.sun, scene.sunlight = vec(-0.8, 0.6, 0.25), vec(1.0, 0.92, 0.8) * 3.4
    scene.exposure, scene.warmth = 1.7, -0.03
    scene.lights = [opening(0, 0.02, VIEW, 1, 2)]
    paint, feature = plaster(vec(0.84, 0.82, 0.79)), plaster(vec(0.5, 0.3, 0.22))
    floor = planks(vec(0.48, 0.31, 0.19), 2, 0.1, 0.7)
    scene.add(*room(SIZE, floor, plaster(grey(0.86)), [feature, paint, paint, paint], {"west": [VIEW]}))
    scene.add(window(0, -0.22, VIEW, 2, BLACK))
    scene.add(curtain(LINEN, (0.4, 1.05), (0.02, 2.68), 0.12, 0), curtain(LINEN, (3.35, 4.0), (0.02, 2.68), 0.12, 0))
    scene.add(rod(BLACK, vec(0.12, 2.7, 0.3), vec(0.12, 2.7, 4.1), 0.014))
    scene.add(placed(table(2.0, 0.95, WALNUT, WALNUT_UP), 2.0, 2.35, 90), *_around(), _laid())
    scene.add(placed(rug(woven(vec(0.7, 0.66, 0.58), vec(0.35, 0.2, 0.16), 0.28), 2.1, 2.9), 2.0, 2.4))
    for z, y in ((1.75, 1.75), (2.35, 1.62), (2.95, 1.75)):
        parts, bulb = pendant(BLACK if z == 2.35 else BRASS, 2.0, y, z, SIZE[1], 0.5)
        scene.add(parts)
        scene.lights.append(bulb)
    scene.add(
        _sideboard(), placed(painting(1.15, 1.15, 21), 2.1, 0.005, y=1.75), placed(plant(1.6, 15, count=64), 3.7, 0.5)
    )
    return scene, 80


def _around() -> list[list[Shape]]:
    cloth = fabric(vec(0.28, 0.35, 0.3))
    left = [placed(chair(cloth, WALNUT_UP), 1.35, z, 90 + turn) for z, turn in ((1.75, 4), (2.35, -3), (2.95, 6))]
    right = [placed(chair(cloth, WALNUT_UP), 2.65, z, -90 + turn) for z, turn in ((1.75, -4), (2.35, 5), (3.0, 16))]
    return [*left, *right]


def _laid() -> list[Shape]:
    china, glaze = plain(vec(0.8, 0.79, 0.76), 0.05, 0.1), plain(vec(0.2, 0.28, 0.26), 0.05, 0.15)
    parts: list[Shape] = []
    for x in (1.75, 2.25):
        for z in (1.75, 2.35, 2.95):
            parts += [tube(china, x, z, (0.75, 0.762), 0.13), tube(glaze, x, z, (0.762, 0.776), 0.095)]
    parts += [
        vase(plain(vec(0.75, 0.7, 0.62), 0.04, 0.3), 2.0, 0.75, 2.2, 0.26),
        box(LINEN, (1.86, 2.14), (0.749, 0.753), (1.5, 3.2)),
    ]
    parts += [tube(BRASS, 2.0, z, (0.75, 0.9), 0.012) for z in (2.55, 2.7)] + [
        tube(WHITE, 2.0, z, (0.9, 1.1), 0.01) for z in (2.55, 2.7)
    ]
    return [*parts, *placed(plant(0.5, 31, count=40), 2.0, 2.2, y=0.86)]


def _sideboard() -> list[Shape]:
    parts: list[Shape] = [box(WALNUT, (1.2, 3.0), (0.18, 0.78), (0.02, 0.44), 0.005)]
    parts += [box(WALNUT, (1.22 + 0.59 * i, 1.8 + 0.59 * i), (0.2, 0.76), (0.44, 0.458), 0.003) for i in range(3)]
    parts += [rod(BRASS, vec(1.75 + 0.59 * i, 0.42, 0.475), vec(1.75 + 0.59 * i, 0.56, 0.475), 0.006) for i in range(3)]
    parts += [tube(BRASS, x, z, (0, 0.18), 0.015) for x in (1.3, 2.9) for z in (0.08, 0.38)]
    steel = metal(vec(0.7, 0.68, 0.64), 0.15)
    parts += [*books(1.35, 0.78, 0.12, 0.32, 55), vase(plain(vec(0.7, 0.65, 0.58), 0.04, 0.3), 2.72, 0.78, 0.22, 0.34)]
    return [*parts, tube(steel, 2.35, 0.22, (0.78, 0.79), 0.15), tube(BLACK, 2.35, 0.22, (0.79, 0.93), 0.04)]
