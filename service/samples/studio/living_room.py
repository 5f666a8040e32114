"""A living room with a wide window."""

from service.samples.studio.arrays import grey, rotation, vec
from service.samples.studio.building import (
    BLACK,
    LINEN,
    WHITE,
    ball,
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
    OAK,
    OAK_UP,
    WALNUT,
    books,
    painting,
    pillow,
    plant,
    rod,
    rug,
    sofa,
    table_lamp,
    vase,
    woven,
)
from service.samples.studio.materials import fabric, plain, planks, plaster
from service.samples.studio.scene import Camera, Scene
from service.samples.studio.shapes import Shape

SIZE = (5.6, 2.65, 5.8)
VIEW = (1.2, 4.3, 0.35, 2.3)


def living_room(scale: float) -> tuple[Scene, int]:
    """The scene, and its JPEG quality."""
    camera = Camera(vec(5.1, 1.35, 5.5), vec(1.7, 1.35, 0.6), round(2048 * scale), round(1365 * scale), 74, -0.1)
    scene = Scene(camera, outdoors(5.5), vec(0.08, 0.05, 0.08), vec(5.52, 2.6, 5.72))
    scene.sun, scene.sunlight = vec(-0.75, 0.5, 0.18), vec(1.0, 0.92, 0.8) * 3.6
    scene.exposure, scene.warmth = 1.75, -0.03
    scene.lights = [opening(0, 0.02, VIEW, 1, 2)]
    paint, feature = plaster(vec(0.83, 0.82, 0.8)), plaster(vec(0.42, 0.47, 0.45))
    floor = planks(vec(0.55, 0.4, 0.27), 0, 0.16, 1.9)
    scene.add(*room(SIZE, floor, plaster(grey(0.86)), [feature, paint, paint, paint], {"west": [VIEW]}))
    scene.add(window(0, -0.22, VIEW, 2), box(WHITE, (-0.2, 0.06), (0.31, 0.35), (1.15, 4.35)))
    scene.add(curtain(LINEN, (0.62, 1.3), (0.02, 2.5), 0.12, 0), curtain(LINEN, (4.2, 4.9), (0.02, 2.5), 0.12, 0))
    scene.add(rod(BLACK, vec(0.12, 2.52, 0.5), vec(0.12, 2.52, 5.0), 0.014))
    scene.add(*_seats(), _coffee_table(), _shelves())
    scene.add(placed(rug(woven(vec(0.72, 0.68, 0.6), vec(0.28, 0.27, 0.27)), 2.9, 2.2), 2.3, 2.2))
    scene.add(placed(painting(1.5, 0.95, 4), 2.25, 0.005, y=1.62), placed(plant(1.5, 3, count=64), 0.6, 0.62))
    lamp, bulb = table_lamp(4.05, 0.5, 0.42, 0.5)
    scene.add(
        lamp,
        [
            box(WALNUT, (3.8, 4.3), (0.46, 0.5), (0.18, 0.64)),
            tube(BLACK, 4.05, 0.42, (0, 0.46), 0.02),
            tube(BLACK, 4.05, 0.42, (0, 0.02), 0.16),
        ],
    )
    scene.lights.append(bulb)
    return scene, 80


def _seats() -> list[list[Shape]]:
    cloth = fabric(vec(0.55, 0.53, 0.5))
    rust, ochre = fabric(vec(0.45, 0.17, 0.08)), fabric(vec(0.62, 0.43, 0.14))
    couch = sofa(cloth, 2.5)
    couch += [
        pillow(rust, vec(-0.85, 0.68, 0.0), 0.22, rotation(14, -18, 4)),
        pillow(ochre, vec(0.82, 0.68, 0.0), 0.22, rotation(-16, -18, -5)),
        pillow(fabric(vec(0.8, 0.78, 0.74)), vec(-0.55, 0.64, 0.08), 0.18, rotation(8, -22, -6)),
    ]
    armchair = sofa(fabric(vec(0.13, 0.25, 0.24)), 0.95, 1)
    return [placed(couch, 2.25, 0.62), placed(armchair, 4.55, 2.15, -72)]


def _coffee_table() -> list[Shape]:
    parts: list[Shape] = [tube(OAK, 0, 0, (0.37, 0.41), 0.46)]
    parts += [
        rod(OAK_UP, vec(x, 0, z), vec(x * 0.8, 0.38, z * 0.8), 0.02) for x, z in ((-0.34, 0.2), (0.34, 0.2), (0, -0.38))
    ]
    parts += [box(fabric(vec(0.7, 0.68, 0.62), 300, 0.0003), (-0.22, 0.06), (0.41, 0.435), (-0.1, 0.1), 0.004)]
    parts += [box(fabric(vec(0.12, 0.2, 0.28), 300, 0.0003), (-0.19, 0.04), (0.435, 0.455), (-0.08, 0.09), 0.004)]
    parts += [vase(plain(vec(0.78, 0.74, 0.68), 0.04, 0.3), 0.2, 0.41, 0.0, 0.22)]
    return placed(parts, 2.35, 2.1, 20)


def _shelves() -> list[Shape]:
    back, front = 0.0, 0.32
    parts: list[Shape] = [
        box(OAK, (4.5, 5.55), (y, y + 0.03), (back, front), 0.003) for y in (0.08, 0.5, 0.92, 1.34, 1.76, 2.1)
    ]
    parts += [box(OAK_UP, (x, x + 0.03), (0, 2.13), (back, front), 0.003) for x in (4.47, 5.52)]
    for row, y in enumerate((0.53, 0.95, 1.37, 1.79)):
        parts += books(4.53 + 0.06 * row, y, 0.06, (0.55, 0.4, 0.65, 0.3)[row], 40 + row)
    parts += [
        vase(plain(vec(0.2, 0.3, 0.33), 0.05, 0.2), 5.2, 0.95, 0.17, 0.26),
        ball(plain(vec(0.7, 0.5, 0.3), 0.04), vec(5.15, 1.88, 0.16), 0.08),
    ]
    return [
        *parts,
        *[
            box(fabric(vec(0.6, 0.48, 0.32), 90, 0.004), (x, x + 0.45), (0.11, 0.4), (0.03, 0.3), 0.02)
            for x in (4.54, 5.03)
        ],
    ]
