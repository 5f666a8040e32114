"""A terrace and garden on a fair afternoon."""

from service.samples.studio.arrays import grey, rotation, vec
from service.samples.studio.building import BLACK, LINEN, box, curtain, placed, soft, tube, wall, window
from service.samples.studio.furniture import OAK, chair, pillow, plant, table, vase
from service.samples.studio.materials import fabric, ground, plain, planks, plaster, tiles, wood
from service.samples.studio.outside import day, hedge, lawn, tree
from service.samples.studio.scene import Camera, Scene
from service.samples.studio.shapes import Shape

FRAME = plain(grey(0.04), 0.05, 0.3)
SLIDER = (-4.6, -0.6, 0.12, 2.4)
TEAK = wood(vec(0.45, 0.3, 0.18), 0)


def terrace(scale: float) -> tuple[Scene, int]:
    """The scene, and its JPEG quality."""
    camera = Camera(vec(3.3, 1.6, 1.4), vec(1.5, 1.6, -6.0), round(1800 * scale), round(1200 * scale), 74, -0.06)
    scene = Scene(camera, day(1.0), vec(-4, 0.15, -9), vec(8, 5, 3), spacing=0.8)
    scene.windows, scene.exposure, scene.samples = False, 0.95, 14
    scene.sun, scene.sunlight = vec(0.62, 0.6, 0.35), vec(1.0, 0.88, 0.7) * 3.4
    scene.add(box(planks(vec(0.46, 0.33, 0.22), 0, 0.14, 3.2, 0.03, 0.4), (-0.0, 6.6), (-0.1, 0.1), (-5.2, 5), 0))
    scene.add(box(ground(vec(0.07, 0.08, 0.04)), (-40, 40), (-0.5, -0.05), (-60, 10), 0))
    scene.add(lawn((-6, 12), (-14, -5.2)), lawn((6.6, 12), (-5.2, 4)))
    _house(scene)
    _pergola(scene)
    scene.add(*_lounge(), *_dining())
    _garden(scene)
    return scene, 76


def _house(scene: Scene) -> None:
    render = plaster(vec(0.72, 0.7, 0.66))
    scene.add(wall(render, 0, 0, (-5.2, 6), 2.9, [SLIDER], -0.35), window(0, -0.2, SLIDER, 2, FRAME))
    scene.add(box(plain(grey(0.07), 0.04, 0.4), (-8, 0.45), (2.9, 3.15), (-5.6, 6), 0.01))
    # Panes mirror the garden; by day nobody sees through them.
    scene.add(box(plain(vec(0.02, 0.025, 0.025), 0.09, 0.0), (-0.19, -0.18), (0.13, 2.39), (-4.59, -0.61), 0))
    inside = plaster(vec(0.75, 0.72, 0.68))
    scene.add(
        box(planks(vec(0.5, 0.36, 0.24), 0), (-5, -0.1), (0, 0.1), (-5.2, 4), 0),
        box(inside, (-5.2, -5), (0, 2.9), (-5.2, 4), 0),
    )
    scene.add(box(inside, (-5.2, -0.3), (0, 2.9), (-5.4, -5.2), 0), curtain(LINEN, (-4.7, -4.0), (0.12, 2.5), -0.5, 0))


def _pergola(scene: Scene) -> None:
    posts = [
        box(BLACK, (x - 0.06, x + 0.06), (0.1, 2.5), (z - 0.06, z + 0.06), 0.004)
        for x in (0.4, 4.2)
        for z in (-4.9, -1.5)
    ]
    beams = [box(BLACK, (0.3, 4.3), (2.5, 2.62), (z - 0.05, z + 0.05)) for z in (-4.9, -1.5)]
    slats = [box(TEAK, (0.45 + 0.2 * i, 0.5 + 0.2 * i), (2.62, 2.74), (-5.1, -1.3)) for i in range(19)]
    scene.add(posts, beams, slats)


def _lounge() -> list[list[Shape]]:
    cloth, navy, sand = fabric(vec(0.66, 0.63, 0.58)), fabric(vec(0.1, 0.16, 0.26)), fabric(vec(0.6, 0.42, 0.2))
    bench: list[Shape] = [
        box(TEAK, (-1.15, 1.15), (0.2, 0.26), (-0.4, 0.42), 0.006),
        box(TEAK, (-1.15, 1.15), (0.26, 0.68), (-0.42, -0.38), 0.006),
    ]
    bench += [box(TEAK, (x, x + 0.06), (0, 0.58), (-0.4, 0.42), 0.006) for x in (-1.2, 1.14)]
    for x in (-0.76, 0.0, 0.76):
        bench += [
            soft(cloth, vec(x, 0.34, 0.04), vec(0.375, 0.08, 0.37), 0.055),
            soft(cloth, vec(x, 0.6, -0.26), vec(0.36, 0.2, 0.09), 0.075, rotation(0, -12, 0)),
        ]
    bench += [
        pillow(navy, vec(-0.8, 0.6, -0.06), 0.21, rotation(12, -20, 5)),
        pillow(sand, vec(0.75, 0.6, -0.06), 0.21, rotation(-14, -20, -4)),
    ]
    seat: list[Shape] = [
        box(TEAK, (-0.4, 0.4), (0.2, 0.26), (-0.38, 0.4), 0.006),
        soft(cloth, vec(0, 0.34, 0.04), vec(0.36, 0.08, 0.35), 0.055),
    ]
    seat += [
        soft(cloth, vec(0, 0.6, -0.26), vec(0.36, 0.2, 0.09), 0.075, rotation(0, -12, 0)),
        box(TEAK, (-0.4, 0.4), (0.26, 0.66), (-0.4, -0.36), 0.006),
    ]
    seat += [box(TEAK, (x, x + 0.05), (0, 0.56), (-0.38, 0.4), 0.006) for x in (-0.43, 0.38)]
    low: list[Shape] = [box(TEAK, (-0.5, 0.5), (0.3, 0.34), (-0.3, 0.3), 0.006)]
    low += [box(BLACK, (x, x + 0.03), (0, 0.3), (z, z + 0.03)) for x in (-0.46, 0.43) for z in (-0.27, 0.24)]
    low += [
        vase(plain(vec(0.2, 0.3, 0.3), 0.05, 0.2), -0.2, 0.34, 0.0, 0.24),
        tube(plain(grey(0.75), 0.05), 0.2, 0.05, (0.34, 0.36), 0.13),
    ]
    return [placed(bench, 2.3, -4.4, 0, 0.1), placed(seat, 0.95, -2.75, 82, 0.1), placed(low, 2.3, -3.2, 0, 0.1)]


def _dining() -> list[list[Shape]]:
    cloth = fabric(vec(0.15, 0.16, 0.17))
    parts = [placed(table(1.9, 0.9, OAK, BLACK), 5.35, -2.3, 90, 0.1)]
    parts += [placed(chair(cloth, BLACK), 4.7, z, 90 + t, 0.1) for z, t in ((-2.8, 3), (-1.9, -4))]
    parts += [placed(chair(cloth, BLACK), 6.0, z, -90 + t, 0.1) for z, t in ((-2.8, -3), (-1.9, 6))]
    return [*parts, placed([vase(plain(vec(0.78, 0.74, 0.68), 0.04, 0.3), 0, 0, 0, 0.26)], 5.35, -2.4, 0, 0.85)]


def _garden(scene: Scene) -> None:
    stone = tiles(vec(0.45, 0.43, 0.4), 0.8, 0.8, grey(0.2), 0.03, 0.4, vary=0.12)
    scene.add([box(stone, (4.7, 5.5), (0, 0.075), (-6.6 - 1.1 * i, -5.8 - 1.1 * i), 0.01) for i in range(5)])
    scene.add(hedge((-8, 14), 1.9, (-15, -14)), hedge((11, 11.9), 1.9, (-14, 3)))
    scene.add(hedge((0.2, 3.9), 0.5, (-6.0, -5.45), vec(0.13, 0.19, 0.07)))
    green, lime, dark = vec(0.1, 0.18, 0.04), vec(0.16, 0.22, 0.05), vec(0.07, 0.13, 0.04)
    scene.add(
        tree(8.3, -10.5, 5.4, 1.9, lime), tree(-1.5, -12, 6.2, 2.4, green), tree(2.6, -18, 9, 3.6, dark, 0.15, 0.14)
    )
    scene.add(
        tree(11, -19, 10, 4.4, green, 0.15, 0.14),
        tree(-7, -19, 9.5, 4, dark, 0.15, 0.14),
        tree(17, -14, 9, 4, dark, 0.15, 0.14),
    )
    for x, z, size, seed in ((0.5, -0.9, 1.3, 5), (6.2, -4.8, 1.2, 9), (0.45, -5.0, 0.9, 13)):
        scene.add(placed(plant(size, seed, plain(vec(0.2, 0.2, 0.2), 0.03), 56), x, z, y=0.1))
