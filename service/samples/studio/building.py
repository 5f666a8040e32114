"""Rooms: walls with openings, windows, curtains, and small helpers to put shapes together."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from service.samples.studio.arrays import Array, fractal, grey, mix, noise, rotation, smooth, vec
from service.samples.studio.materials import Material, fabric, metal, plain
from service.samples.studio.scene import Panel, Sky
from service.samples.studio.shapes import Ball, Shape, Solid, Tube, rounded

WHITE = plain(vec(0.82, 0.81, 0.79), 0.04, 0.25)
CHROME = metal(vec(0.86, 0.87, 0.88), 0.05)
STEEL = metal(vec(0.62, 0.62, 0.61), 0.3)
BLACK = plain(grey(0.025), 0.04, 0.3)
BRASS = metal(vec(0.83, 0.62, 0.3), 0.22)

Span = tuple[float, float]


def box(material: Material, x: Span, y: Span, z: Span, bevel: float = 0.004) -> Shape:
    """An upright box between coordinates."""
    low, high = vec(x[0], y[0], z[0]), vec(x[1], y[1], z[1])
    return Shape(material, (low + high) / 2, (high - low) / 2, bevel=bevel)


def tube(material: Material, x: float, z: float, y: Span, radius: float) -> Tube:
    """An upright cylinder."""
    return Tube(material, vec(x, (y[0] + y[1]) / 2, z), vec(radius, (y[1] - y[0]) / 2, radius))


def ball(material: Material, centre: Array, radius: float) -> Ball:
    """A ball."""
    return Ball(material, centre, grey(radius))


def soft(material: Material, centre: Array, half: Array, radius: float, turn: Array | None = None) -> Solid:
    """A box with round edges."""
    return Solid(material, centre, half + 0.002, turn, field=rounded(half, radius))


def placed(shapes: Sequence[Shape], x: float, z: float, yaw: float = 0.0, y: float = 0.0) -> list[Shape]:
    """Shapes built about the origin, put somewhere."""
    move = vec(x, y, z)
    if not yaw:
        return [replace(shape, centre=shape.centre + move) for shape in shapes]
    turn = rotation(yaw)
    return [
        replace(shape, centre=turn @ shape.centre + move, turn=turn if shape.turn is None else turn @ shape.turn)
        for shape in shapes
    ]


Hole = tuple[float, float, float, float]
"""From, to along the wall; bottom, top."""


def wall(
    material: Material,
    axis: int,
    at: float,
    along: Span,
    height: float,
    holes: Sequence[Hole] = (),
    thick: float = 0.25,
) -> list[Shape]:
    """A wall across `axis` (0 or 2) from `at` outwards by `thick` (negative: the other way)."""
    across = (min(at, at + thick), max(at, at + thick))
    pieces: list[tuple[Span, Span]] = []
    # Into floor and ceiling, so that no ray slips through the joint.
    full = (-0.1, height + 0.1)
    left = along[0]
    for start, end, bottom, top in sorted(holes):
        pieces += [((left, start), full), ((start, end), (full[0], bottom)), ((start, end), (top, full[1]))]
        left = end
    pieces.append(((left, along[1]), full))
    solid = [(u, y) for u, y in pieces if u[1] - u[0] > 1e-4 and y[1] - y[0] > 0.11]
    if axis == 0:
        return [box(material, across, y, u, 0) for u, y in solid]
    return [box(material, u, y, across, 0) for u, y in solid]


def window(
    axis: int, at: float, hole: Hole, bars: int = 1, frame: Material = WHITE, depth: float = 0.12, rail: float = 0.0
) -> list[Shape]:
    """Frame, mullions and (at height `rail`) a crossbar of an opening; `depth` is how far in the wall it sits."""
    start, end, bottom, top = hole
    w = 0.045
    parts: list[tuple[Span, Span]] = [((start, start + w), (bottom, top)), ((end - w, end), (bottom, top))]
    parts += [((start, end), (bottom, bottom + w)), ((start, end), (top - w, top))]
    for bar in range(1, bars + 1):
        middle = start + (end - start) * bar / (bars + 1)
        parts.append(((middle - w * 0.7, middle + w * 0.7), (bottom, top)))
    if rail:
        parts.append(((start, end), (rail - w / 2, rail + w / 2)))
    across = (at + depth - 0.03, at + depth + 0.03)
    if axis == 0:
        return [box(frame, across, y, u, 0.006) for u, y in parts]
    return [box(frame, u, y, across, 0.006) for u, y in parts]


def opening(axis: int, at: float, hole: Hole, inward: float, samples: int = 1) -> Panel:
    """The light through a window; `inward` is the sign of the direction into the room."""
    start, end, bottom, top = hole
    if axis == 0:
        corner, u = vec(at, bottom, start), vec(0, 0, end - start)
        flip = inward < 0
    else:
        corner, u = vec(start, bottom, at), vec(end - start, 0, 0)
        flip = inward > 0
    v = vec(0, top - bottom, 0)
    return Panel(corner, u, v, samples=samples) if flip else Panel(corner, v, u, samples=samples)


def curtain(material: Material, along: Span, y: Span, at: float, axis: int = 2, folds: float = 9.0) -> Solid:
    """Cloth hanging in folds."""
    u, v = (0, 2) if axis == 2 else (2, 0)
    half = np.zeros((3, 1), dtype=np.float32)
    half[u], half[1], half[v] = (along[1] - along[0]) / 2, (y[1] - y[0]) / 2, 0.075
    centre = np.zeros((3, 1), dtype=np.float32)
    centre[u], centre[1], centre[v] = sum(along) / 2, sum(y) / 2, at

    def field(p: Array) -> Array:
        wander = 1.6 * noise(np.stack([p[u] * 3, p[1] * 0.7, p[u] * 0 + along[0]]))
        wave = np.sin(p[u] * folds * 2 * np.pi + wander * 2)
        deep = 0.026 + 0.022 * noise(np.stack([p[u] * 4, p[1] * 0.4, p[u] * 0]))
        cloth = np.abs(p[v] - deep * wave) - 0.004
        hem = np.maximum(np.abs(p[u]) - half[u] + 0.01, np.abs(p[1]) - half[1] + 0.002)
        return np.asarray(np.maximum(cloth * 0.45, hem))

    return Solid(material, centre, half, field=field, steps=70)


LINEN = fabric(vec(0.78, 0.75, 0.69), 300, 0.0008, 0.12)


def outdoors(bright: float = 6.0, green: float = 0.5) -> Sky:
    """A bright day as seen through a window: sky, and a garden out of focus."""

    def sky(d: Array) -> Array:
        up = np.clip(d[1], -1, 1)
        heaven = mix(vec(1.0, 0.99, 0.97), vec(0.55, 0.75, 1.0), smooth(0.02, 0.6, up)) * bright
        q = np.stack([np.arctan2(d[0], d[2]) * 7, d[1] * 9, d[0] * 0 + 3])
        lush = mix(vec(0.1, 0.16, 0.05), vec(0.45, 0.58, 0.22), fractal(q, 4) ** 1.5 * 1.6) * (bright * green)
        lawn = vec(0.3, 0.4, 0.16) * (bright * green * 0.9)
        crowns = 0.1 + 0.3 * (fractal(np.stack([q[0] * 0.6, q[0] * 0, q[2]]), 4) - 0.4)
        scene = mix(lawn, lush, smooth(-0.12, -0.06, up))
        return np.asarray(mix(scene, heaven, smooth(-0.02, 0.03, up - crowns)), dtype=np.float32)

    return sky


def room(
    size: tuple[float, float, float],
    floor: Material,
    ceiling: Material,
    walls: Sequence[Material],
    holes: dict[str, list[Hole]],
    *,
    skirting: bool = True,
) -> list[list[Shape]]:
    """A room from the origin to `size`; walls in the order north (z = 0), west, east, south, overlapping at corners."""
    x, y, z = size
    over = 0.25
    north, west, east, south = walls
    parts: list[list[Shape]] = [
        [box(floor, (-over, x + over), (-0.25, 0), (-over, z + over), 0)],
        [box(ceiling, (-over, x + over), (y, y + 0.25), (-over, z + over), 0)],
        wall(north, 2, 0, (-over, x + over), y, holes.get("north", ()), -over),
        wall(west, 0, 0, (-over, z + over), y, holes.get("west", ()), -over),
        wall(east, 0, x, (-over, z + over), y, holes.get("east", ()), over),
        wall(south, 2, z, (-over, x + over), y, holes.get("south", ()), over),
    ]
    if skirting:
        parts += [
            _skirting(2, 0.0, x, holes.get("north", ())),
            _skirting(0, 0.0, z, holes.get("west", ())),
            _skirting(0, x - 0.018, z, holes.get("east", ())),
        ]
    return parts


def _skirting(axis: int, at: float, length: float, holes: Sequence[Hole]) -> list[Shape]:
    doors = [(start, end, -1.0, 0.1) for start, end, bottom, _ in holes if bottom < 0.1]
    edges = [0.0, *(edge for door in sorted(doors) for edge in door[:2]), length]
    spans = list(zip(edges[::2], edges[1::2], strict=True))
    if axis == 0:
        return [box(WHITE, (at, at + 0.018), (0, 0.1), span, 0.006) for span in spans]
    return [box(WHITE, span, (0, 0.1), (at, at + 0.018), 0.006) for span in spans]
