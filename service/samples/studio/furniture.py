"""Furniture, built about the origin of the floor, its front towards +z."""

import numpy as np

from service.samples.studio.arrays import Array, cross, dot, fractal, grey, mix, noise, rotation, smooth, unit, vec
from service.samples.studio.building import BLACK, BRASS, WHITE, ball, box, soft, tube
from service.samples.studio.materials import Material, fabric, glowing, leaves, plain, wood
from service.samples.studio.scene import Bulb
from service.samples.studio.shapes import Ball, Shape, Solid, Tube

OAK = wood(vec(0.56, 0.38, 0.22), 0)
OAK_UP = wood(vec(0.56, 0.38, 0.22), 1)
WALNUT = wood(vec(0.27, 0.16, 0.09), 0)
WALNUT_UP = wood(vec(0.27, 0.16, 0.09), 1)
LEAF = leaves(vec(0.09, 0.19, 0.05), 0.3, 0.2)


def rod(material: Material, start: Array, end: Array, radius: float) -> Tube:
    """A round bar between two points."""
    along = end - start
    length = float(np.sqrt(dot(along, along))[0])
    up = unit(along)
    side = unit(cross(up, vec(1, 0, 0) if abs(up[0, 0]) < 0.9 else vec(0, 0, 1)))
    turn = np.concatenate([side, up, cross(side, up)], axis=1).astype(np.float32)
    return Tube(material, (start + end) / 2, vec(radius, length / 2, radius), turn)


def chair(cloth: Material, timber: Material = OAK_UP) -> list[Shape]:
    """A dining chair with a padded seat and back."""
    legs: list[Shape] = [
        rod(timber, vec(x * 1.15, 0, z * 1.15), vec(x * 0.85, 0.45, z * 0.85), 0.016)
        for x in (-0.2, 0.2)
        for z in (-0.2, 0.2)
    ]
    seat = soft(cloth, vec(0, 0.455, 0.0), vec(0.235, 0.035, 0.23), 0.03)
    back = soft(cloth, vec(0, 0.7, -0.235), vec(0.225, 0.17, 0.028), 0.026, rotation(0, -9, 0))
    posts = [rod(timber, vec(x, 0.42, -0.2), vec(x, 0.75, -0.25), 0.013) for x in (-0.17, 0.17)]
    return [*legs, seat, back, *posts]


def stool(cloth: Material, frame: Material = BLACK) -> list[Shape]:
    """A bar stool with a low back."""
    corners = [(x, z) for x in (-0.17, 0.17) for z in (-0.17, 0.17)]
    legs: list[Shape] = [rod(frame, vec(x * 1.2, 0, z * 1.2), vec(x * 0.8, 0.64, z * 0.8), 0.012) for x, z in corners]
    rail = [rod(frame, vec(-0.19, 0.22, z), vec(0.19, 0.22, z), 0.009) for z in (-0.19, 0.19)]
    seat = soft(cloth, vec(0, 0.66, 0), vec(0.21, 0.035, 0.2), 0.033)
    back = soft(cloth, vec(0, 0.83, -0.19), vec(0.2, 0.09, 0.022), 0.02, rotation(0, -8, 0))
    return [*legs, *rail, seat, back]


def table(length: float, depth: float, top: Material = OAK, leg: Material = OAK_UP) -> list[Shape]:
    """A dining table."""
    x, z = length / 2, depth / 2
    legs = [
        box(leg, (a - 0.035, a + 0.035), (0, 0.71), (b - 0.035, b + 0.035), 0.006)
        for a in (-x + 0.1, x - 0.1)
        for b in (-z + 0.1, z - 0.1)
    ]
    apron = [box(top, (-x + 0.1, x - 0.1), (0.64, 0.71), (b - 0.012, b + 0.012)) for b in (-z + 0.1, z - 0.1)]
    return [*legs, *apron, box(top, (-x, x), (0.71, 0.75), (-z, z), 0.008)]


def pillow(material: Material, centre: Array, size: float, turn: Array, thick: float = 0.09) -> Solid:
    """A square scatter cushion, full in the middle, thin at the edges."""
    half = vec(size, size, thick)

    def field(p: Array) -> Array:
        u, v = p[0] / size, p[1] / size
        full = np.maximum((1 - u**2 * 0.96) * (1 - v**2 * 0.96), 0) ** 0.45
        crease = 0.006 * (fractal(p * 9 + centre, 2) - 0.5)
        d = np.abs(p[2]) - thick * 0.92 * full + crease
        edge = np.maximum(
            np.abs(p[0]) - size * (0.96 - 0.06 * (1 - v**2)), np.abs(p[1]) - size * (0.96 - 0.06 * (1 - u**2))
        )
        return np.asarray(np.maximum(d * 0.5, edge))

    return Solid(material, centre, half, turn, field=field, steps=60)


def sofa(cloth: Material, width: float = 2.3, seats: int = 3, leg: Material = OAK_UP) -> list[Shape]:
    """A sofa with loose cushions."""
    x = width / 2
    inside = x - 0.2
    each = 2 * inside / seats
    parts: list[Shape] = [soft(cloth, vec(0, 0.24, 0), vec(x - 0.03, 0.1, 0.44), 0.03)]
    parts += [soft(cloth, vec(side * (x - 0.1), 0.36, 0), vec(0.1, 0.24, 0.46), 0.05) for side in (-1, 1)]
    parts.append(soft(cloth, vec(0, 0.5, -0.38), vec(x - 0.02, 0.3, 0.09), 0.06))
    for seat in range(seats):
        middle = -inside + each * (seat + 0.5)
        parts.append(soft(cloth, vec(middle, 0.405, 0.08), vec(each / 2 - 0.004, 0.085, 0.38), 0.055))
        parts.append(soft(cloth, vec(middle, 0.67, -0.2), vec(each / 2 - 0.01, 0.2, 0.1), 0.085, rotation(0, -12, 0)))
    corners = [(a, b) for a in (-x + 0.1, x - 0.1) for b in (-0.38, 0.38)]
    return [*parts, *(tube(leg, a, b, (0, 0.15), 0.02) for a, b in corners)]


def rug(pattern: Material, x: float, z: float) -> list[Shape]:
    """A rug lying flat."""
    return [box(pattern, (-x / 2, x / 2), (0, 0.014), (-z / 2, z / 2), 0.006)]


def woven(base: Array, line: Array, size: float = 0.34) -> Material:
    """A rug's wool with thin irregular diamonds."""

    def pattern(p: Array, n: Array) -> Array:
        bend = 0.05 * fractal(p * 3, 2)
        u = np.abs((p[0] + p[2] + bend) / size % 1 - 0.5)
        v = np.abs((p[0] - p[2] + bend) / size % 1 - 0.5)
        mark = 1 - smooth(0.03, 0.055, np.minimum(u, v))
        wool = 0.8 + 0.4 * noise(p * 150)
        return np.asarray(mix(base + 0 * p, line, mark * 0.85) * wool)

    return Material(pattern, height=lambda p: noise(p * 130), relief=0.003, grain=0.003)


def painting(width: float, tall: float, seed: int, frame: Material = BLACK) -> list[Shape]:
    """An abstract picture in a frame, its back at z = 0, its middle at the origin."""
    earth = np.array(
        [[0.5, 0.2, 0.1], [0.1, 0.2, 0.22], [0.65, 0.45, 0.2], [0.35, 0.4, 0.33], [0.06, 0.07, 0.09]], np.float32
    )
    hues = np.random.default_rng(seed).permutation(earth)[:4, :, None]

    def art(p: Array, n: Array) -> Array:
        q = p * (2.2 / width) + seed * 3.7
        flow = fractal(q + 0.8 * fractal(q * 1.5, 3), 4)
        colour = vec(0.82, 0.79, 0.73) + 0 * p
        for layer, hue in enumerate(hues):
            edge = 0.4 + 0.07 * layer
            colour = mix(colour, hue, smooth(edge, edge + 0.015, flow) * smooth(edge + 0.09, edge + 0.075, flow))
        inside = np.maximum(np.abs(p[0]) / (width / 2 - 0.09), np.abs(p[1]) / (tall / 2 - 0.09))
        return np.asarray(mix(colour, vec(0.8, 0.79, 0.77), smooth(0.995, 1.005, inside)))

    w, h = width / 2, tall / 2
    sides = [((-w, w), (h - 0.02, h)), ((-w, w), (-h, -h + 0.02)), ((-w, -w + 0.02), (-h, h)), ((w - 0.02, w), (-h, h))]
    # A turn of nothing: the picture's pattern must go by its own coordinates.
    canvas = Shape(Material(art), vec(0, 0, 0.008), vec(w - 0.01, h - 0.01, 0.008), rotation())
    return [canvas, *(box(frame, x, y, (0, 0.03), 0.003) for x, y in sides)]


def plant(tall: float, seed: int, pot: Material = WHITE, count: int = 46, spread: float = 0.45) -> list[Shape]:
    """A potted plant: leaves on arching stems."""
    rng = np.random.default_rng(seed)
    parts: list[Shape] = [tube(pot, 0, 0, (0, tall * 0.24), tall * 0.12)]
    parts.append(tube(plain(vec(0.05, 0.035, 0.025)), 0, 0, (tall * 0.2, tall * 0.242), tall * 0.11))
    for _ in range(count):
        yaw, lean = rng.uniform(0, 360), rng.uniform(8, 75)
        reach = tall * rng.uniform(0.35, 0.75)
        away = rotation(yaw) @ vec(0, np.cos(np.radians(lean)), np.sin(np.radians(lean)) * spread * 1.6)
        end = vec(0, tall * 0.24, 0) + away * reach
        long, wide = tall * rng.uniform(0.07, 0.12), tall * rng.uniform(0.03, 0.05)
        turn = rotation(yaw, -70 + lean + rng.uniform(10, 70), rng.uniform(-25, 25))
        parts.append(Ball(LEAF, end, vec(wide, 0.004, long), turn))
        parts.append(rod(LEAF, vec(0, tall * 0.22, 0), end, 0.003))
    return parts


def pendant(shade: Material, x: float, y: float, z: float, ceiling: float, power: float) -> tuple[list[Shape], Bulb]:
    """A dome lamp hanging from the ceiling, and its light."""

    def field(p: Array) -> Array:
        round_ = np.sqrt(dot(p, p)) - 0.17
        shell = np.maximum(np.abs(round_) - 0.004, -p[1] - 0.02)
        return np.asarray(shell * 0.9)

    glow = ball(glowing(vec(1, 0.8, 0.55), 9), vec(x, y + 0.02, z), 0.045)
    glow.casts = False
    dome = Solid(shade, vec(x, y, z), grey(0.18), field=field)
    cord = tube(BLACK, x, z, (y + 0.16, ceiling), 0.004)
    return [dome, cord, glow], Bulb(vec(x, y - 0.02, z), 0.045, vec(1, 0.78, 0.52) * power)


def table_lamp(x: float, y: float, z: float, power: float, base: Material = BRASS) -> tuple[list[Shape], Bulb]:
    """A lamp with a cloth shade that glows."""
    shade = tube(glowing(vec(1, 0.82, 0.6), 1.7), x, z, (y + 0.3, y + 0.5), 0.13)
    shade.casts = False
    foot = tube(base, x, z, (y, y + 0.02), 0.07)
    body = Ball(base, vec(x, y + 0.13, z), vec(0.055, 0.11, 0.055))
    stem = tube(base, x, z, (y + 0.2, y + 0.31), 0.008)
    return [shade, foot, body, stem], Bulb(vec(x, y + 0.4, z), 0.12, vec(1, 0.78, 0.52) * power)


def vase(material: Material, x: float, y: float, z: float, tall: float = 0.28) -> Solid:
    """A turned vase."""

    def field(p: Array) -> Array:
        h = p[1] / tall + 0.5
        radius = tall * (0.16 + 0.2 * np.sin(np.clip(h, 0, 1) * 3.0 + 0.35) ** 2 * (1.05 - 0.62 * h))
        side = (np.sqrt(p[0] ** 2 + p[2] ** 2) - radius) * 0.75
        return np.asarray(np.maximum(side, np.abs(p[1]) - tall / 2))

    return Solid(material, vec(x, y + tall / 2, z), vec(tall * 0.45, tall * 0.51, tall * 0.45), field=field)


def books(x: float, y: float, z: float, width: float, seed: int) -> list[Shape]:
    """A row of books, spines to +z."""
    rng = np.random.default_rng(seed)
    row: list[Shape] = []
    end = x + width
    while x < end:
        thick, tall, deep = rng.uniform(0.014, 0.04), rng.uniform(0.17, 0.26), rng.uniform(0.13, 0.17)
        hue = rng.uniform(0.06, 0.6, 3) * rng.uniform(0.4, 1.1)
        cover = fabric(vec(*(hue * 0.5 + hue.mean() * 0.5)), 300, 0.0003, 0.1)
        row.append(box(cover, (x, x + thick), (y, y + tall), (z, z + deep), 0.003))
        x += thick + 0.001
    return row
