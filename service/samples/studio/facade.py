"""The house from the street, at dusk, its lights on."""

from service.samples.studio.arrays import grey, vec
from service.samples.studio.building import BLACK, LINEN, WHITE, box, curtain, placed, tube, wall, window
from service.samples.studio.furniture import OAK, painting, plant, sofa
from service.samples.studio.materials import Material, fabric, glowing, ground, plain, planks, plaster, tiles, wood
from service.samples.studio.outside import dusk, hedge, lawn, tree
from service.samples.studio.scene import Bulb, Camera, Scene

FRAME = plain(grey(0.04), 0.05, 0.3)
STUCCO = Material(plaster(vec(0.68, 0.66, 0.63)).pattern, height=plaster(grey(1)).height, relief=0.002, grain=0.006)
PANE = (1.0, 4.4, 0.15, 2.5)
DOOR = (5.4, 6.5, 0.15, 2.45)
UPPER = ((2.2, 4.2, 3.9, 5.2), (5.2, 7.9, 3.9, 5.2))
WARM = vec(1.0, 0.68, 0.36)


def facade(scale: float) -> tuple[Scene, int]:
    """The scene, and its JPEG quality."""
    camera = Camera(vec(9.3, 1.6, 13.6), vec(4.6, 1.6, 0.0), round(1920 * scale), round(1280 * scale), 64, 0.1)
    scene = Scene(camera, dusk(0.55), vec(-5, 0.1, -4), vec(15, 7, 14), spacing=1.0)
    scene.windows, scene.exposure, scene.glare, scene.samples = False, 2.7, 0.09, 14
    _house(scene)
    _rooms(scene)
    _garden(scene)
    return scene, 80


def _house(scene: Scene) -> None:
    boards = planks(vec(0.4, 0.24, 0.13), 0, 0.12, 3.0, 0.03, 0.4)
    cladding = Material(lambda p, n: boards.pattern(p[[0, 2, 1]], n), 0.03, 0.4)
    deck = plaster(vec(0.4, 0.39, 0.37))
    scene.add(wall(STUCCO, 2, 0, (0, 9), 2.9, [PANE, DOOR], -0.3), wall(STUCCO, 0, 9, (-6, 0), 2.9, (), -0.3))
    scene.add(wall(STUCCO, 0, 0, (-6, 0), 2.9, (), 0.3), box(deck, (0, 9), (0, 0.15), (-6, 0), 0))
    scene.add(
        [
            box(grey_roof(), (-0.3, 9.3), (2.9, 3.2), (-6.2, 1.1), 0.01),
            box(STUCCO, (-0.3, 9.3), (2.88, 2.9), (-6.2, 1.1), 0),
        ]
    )
    upper = [(a, b, c - 3.2, d - 3.2) for a, b, c, d in UPPER]
    front = placed(wall(cladding, 2, 0, (1.4, 8.7), 2.5, upper, -0.3), 0, 0.4, y=3.2)
    sides = [
        box(cladding, (1.4, 1.7), (3.2, 5.7), (-5.5, 0.1), 0),
        box(cladding, (8.4, 8.7), (3.2, 5.7), (-5.5, 0.1), 0),
    ]
    scene.add(front, sides, box(grey_roof(), (1.1, 9.0), (5.7, 5.95), (-5.8, 0.8), 0.01))
    scene.add(window(2, -0.2, PANE, 2, FRAME), *(window(2, 0.2, hole, 1, FRAME) for hole in UPPER))
    leaf = wood(vec(0.22, 0.12, 0.06), 1)
    scene.add(
        [box(leaf, (DOOR[0] + 0.05, 6.1), (0.15, 2.4), (-0.14, -0.08)), tube(BLACK, 6.02, -0.04, (0.9, 1.6), 0.015)]
    )
    scene.add(
        window(2, -0.2, (6.1, DOOR[1], DOOR[2], DOOR[3]), 0, FRAME),
        box(FRAME, (DOOR[0], DOOR[0] + 0.05), (0.15, 2.45), (-0.2, 0)),
    )
    for x in (4.9, 6.95):
        scene.add([box(BLACK, (x - 0.05, x + 0.05), (1.75, 2.0), (0.0, 0.09))])
        scene.lights += [Bulb(vec(x, 2.06, 0.1), 0.03, WARM * 0.5), Bulb(vec(x, 1.69, 0.1), 0.03, WARM * 0.5)]


def grey_roof() -> Material:
    """Anthracite metal."""
    return plain(grey(0.07), 0.04, 0.4)


def _rooms(scene: Scene) -> None:
    """Lit interiors, as far as one sees them from outside."""
    paint = plaster(vec(0.75, 0.7, 0.62))
    floor = planks(vec(0.45, 0.3, 0.18), 0)
    scene.add(box(paint, (0.3, 8.7), (0.1, 2.9), (-4.2, -4.0), 0), box(paint, (4.75, 4.9), (0.1, 2.9), (-4, -0.3), 0))
    scene.add(box(floor, (0.3, 8.7), (0.15, 0.16), (-4, -0.3), 0), box(paint, (0.3, 8.7), (2.86, 2.88), (-4, -0.3), 0))
    scene.add(box(paint, (1.7, 8.4), (3.2, 5.7), (-3.2, -3.0), 0), box(paint, (4.6, 4.75), (3.2, 5.7), (-3, 0.1), 0))
    scene.add(box(floor, (1.7, 8.4), (3.2, 3.22), (-3, 0.1), 0), box(paint, (1.7, 8.4), (5.66, 5.7), (-3, 0.1), 0))
    scene.add(
        placed(sofa(fabric(vec(0.3, 0.34, 0.36)), 2.2), 2.6, -3.3, y=0.16),
        placed(painting(1.5, 0.9, 4), 2.6, -3.99, y=1.75),
    )
    scene.add(placed(plant(1.5, 6, count=50), 4.2, -2.6, y=0.16), placed(painting(1.2, 0.8, 9, OAK), 6.6, -2.99, y=4.8))
    scene.add(curtain(LINEN, (0.95, 1.4), (0.2, 2.6), -0.5), curtain(LINEN, (4.1, 4.6), (0.2, 2.6), -0.5))
    scene.add(curtain(LINEN, (2.1, 2.7), (3.4, 5.4), -0.1), curtain(LINEN, (7.4, 8.0), (3.4, 5.4), -0.1))
    for x, y, z, power in ((2.7, 2.2, -1.9, 7.0), (6.3, 2.3, -1.6, 3.5), (3.2, 5.1, -1.5, 3.0), (6.5, 5.1, -1.5, 5.0)):
        lamp = tube(glowing(WARM, 9), x, z, (y - 0.12, y + 0.12), 0.16)
        lamp.casts = False
        scene.add([lamp, tube(BLACK, x, z, (y + 0.12, y + 0.65), 0.008)])
        scene.lights.append(Bulb(vec(x, y, z), 0.16, WARM * power))


def _garden(scene: Scene) -> None:
    scene.add(box(ground(vec(0.05, 0.06, 0.03)), (-40, 50), (-0.5, 0), (-40, 30), 0))
    slab = tiles(vec(0.36, 0.35, 0.33), 1.2, 0.6, grey(0.12), 0.03, 0.35, vary=0.12)
    scene.add(box(slab, (5.1, 6.8), (0, 0.05), (0.0, 16), 0), box(slab, (0.4, 6.8), (0, 0.05), (0, 1.5), 0))
    scene.add(lawn((-14, 5.1), (1.5, 13)), lawn((6.8, 18), (-3, 13)))
    scene.add(hedge((-7, -0.4), 1.3, (0.2, 1.0)), hedge((9.4, 16), 1.5, (-1.2, -0.3)))
    scene.add(hedge((6.9, 8.9), 0.55, (0.25, 0.8), vec(0.12, 0.17, 0.06)))
    dark, olive = vec(0.1, 0.15, 0.05), vec(0.16, 0.18, 0.08)
    scene.add(
        tree(-2.6, 3.2, 5.6, 1.7, olive), tree(12.4, -3.5, 8.0, 2.6, dark, 0.2), tree(-7, -6, 9, 3.6, dark, 0.15, 0.13)
    )
    scene.add(
        tree(3, -14, 10.5, 4.5, dark, 0.1, 0.16),
        tree(15.5, -12, 11, 5, dark, 0.1, 0.16),
        tree(-15, -12, 10, 5, dark, 0.1, 0.16),
    )
    for z in (2.6, 5.2, 7.8):
        scene.add([tube(BLACK, 4.95, z, (0, 0.45), 0.035), box(WHITE, (4.93, 4.97), (0.4, 0.41), (z - 0.02, z + 0.02))])
        scene.lights.append(Bulb(vec(5.05, 0.4, z), 0.03, WARM * 0.22))
    scene.add(placed(plant(1.2, 14, BLACK, 50), 7.3, 0.9, y=0.0))
