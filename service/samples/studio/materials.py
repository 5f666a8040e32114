"""What surfaces are made of: colour patterns, relief, shine."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from service.samples.studio.arrays import Array, fractal, grey, mix, noise, scatter, smooth, vec

Pattern = Callable[[Array, Array], Array]
"""Colour for local points and normals."""
Height = Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class Material:
    """A surface; `shine` is its reflectance when looked at straight on."""

    pattern: Pattern
    shine: float = 0.0
    roughness: float = 0.3
    metal: bool = False
    glow: Array | None = None
    height: Height | None = None
    relief: float = 0.0
    """Depth of the relief in metres."""
    grain: float = 0.004
    """Distance over which the relief's slope is measured."""
    average: Array = field(init=False)

    def __post_init__(self) -> None:
        """The mean colour stands for the pattern where detail does not show."""
        p = np.random.default_rng(3).random((3, 4000), dtype=np.float32) * 4
        n = np.zeros_like(p)
        n[1] = 1
        mean = self.pattern(p, n).reshape(3, -1).mean(axis=1, keepdims=True)
        object.__setattr__(self, "average", mean.astype(np.float32))

    def slope(self, p: Array) -> Array:
        """Gradient of the relief."""
        if self.height is None:
            return np.zeros_like(p)
        here = self.height(p)
        step = self.grain
        moved = [self.height(p + offset) - here for offset in (vec(step, 0, 0), vec(0, step, 0), vec(0, 0, step))]
        return np.stack(moved) * (self.relief / step)


def plane(p: Array, n: Array) -> tuple[Array, Array]:
    """Two coordinates along the face a point lies on."""
    a = np.abs(n)
    sideways = (a[0] > a[1]) & (a[0] > a[2])
    level = a[1] >= np.maximum(a[0], a[2])
    u = np.where(sideways, p[2], p[0])
    v = np.where(level, p[2], p[1])
    return u, v


def plain(colour: Array, shine: float = 0.0, roughness: float = 0.3) -> Material:
    """One colour, with the faint unevenness of real things."""
    return Material(lambda p, n: colour * (0.97 + 0.06 * noise(p * 3.1)), shine, roughness)


def plaster(colour: Array) -> Material:
    """A painted wall."""
    return Material(
        lambda p, n: colour * (0.97 + 0.05 * fractal(p * 1.3, 3)),
        height=lambda p: fractal(p * 60, 2),
        relief=0.0006,
    )


def metal(colour: Array, roughness: float = 0.08) -> Material:
    """Bare metal."""
    return Material(lambda p, n: colour + 0 * p, 0.9, roughness, metal=True)


def glowing(colour: Array, strength: float) -> Material:
    """A lamp."""
    return Material(lambda p, n: grey(0.8) + 0 * p, glow=(colour * strength).astype(np.float32))


def _grain(p: Array, along: int) -> Array:
    stretch = np.full((3, 1), 42, dtype=np.float32)
    stretch[along] = 2.2
    q = p * stretch
    rings = 0.5 + 0.5 * np.sin(18 * fractal(q * 0.13 + 5, 3) + 2 * noise(q * 0.5))
    fibre = fractal(q * 1.7, 3)
    grain: Array = 0.45 * rings + 0.55 * fibre
    return grain


def wood(colour: Array, along: int = 0, shine: float = 0.04, roughness: float = 0.28) -> Material:
    """Solid wood, its grain along an axis."""
    return Material(
        lambda p, n: colour * (0.72 + 0.5 * _grain(p, along)),
        shine,
        roughness,
        height=lambda p: _grain(p, along),
        relief=0.0004,
    )


def planks(
    colour: Array,
    along: int = 0,
    width: float = 0.14,
    length: float = 1.6,
    shine: float = 0.04,
    roughness: float = 0.16,
) -> Material:
    """A floor of boards, no two alike."""
    across = 2 - along

    def cells(p: Array) -> tuple[Array, Array, Array]:
        row = np.floor(p[across] / width)
        shifted = p[along] / length + scatter(row[None], 1) * 7
        board = np.stack([row, np.floor(shifted)])
        edge = np.minimum(np.abs(p[across] / width - row - 0.5) * width, width)
        gap_across = width / 2 - edge
        gap_along = (0.5 - np.abs(shifted - np.floor(shifted) - 0.5)) * length
        return board, gap_across, gap_along

    def pattern(p: Array, n: Array) -> Array:
        board, a, b = cells(p)
        tone = scatter(board, 2)
        offset = np.stack([tone * 31, scatter(board, 3) * 17, tone * 5])
        boards = colour * (0.78 + 0.3 * tone) * (0.74 + 0.46 * _grain(p + offset, along))
        warm = vec(1.04, 1.0, 0.94) ** (4 * (scatter(board, 4) - 0.5))
        seam = smooth(0.0008, 0.0026, np.minimum(a, b))
        return np.asarray(boards * warm * (0.3 + 0.7 * seam))

    def height(p: Array) -> Array:
        _, a, b = cells(p)
        return smooth(0, 0.004, np.minimum(a, b)) + 0.25 * _grain(p, along)

    return Material(pattern, shine, roughness, height=height, relief=0.0005, grain=0.003)


def tiles(
    colour: Array,
    width: float,
    tall: float,
    grout: Array,
    shine: float = 0.05,
    roughness: float = 0.06,
    bond: float = 0.0,
    vary: float = 0.08,
    vein: float = 0.0,
) -> Material:
    """Tiles or bricks; `bond` shifts every other row."""

    def cells(p: Array, n: Array) -> tuple[Array, Array]:
        u, v = plane(p, n)
        row = np.floor(v / tall)
        u = u / width + bond * (row % 2)
        column = np.floor(u)
        gap = np.minimum((0.5 - np.abs(u - column - 0.5)) * width, (0.5 - np.abs(v / tall - row - 0.5)) * tall)
        return np.stack([column, row]), gap

    def pattern(p: Array, n: Array) -> Array:
        which, gap = cells(p, n)
        tone = 1 + vary * (2 * scatter(which, 5) - 1) + 0.1 * (fractal(p * 9, 3) - 0.5)
        if vein:
            shift = np.stack([scatter(which, s) * 20 for s in range(3)])
            line = np.abs(fractal((p + shift) * 2.2, 5) - 0.5)
            tone = tone * (1 - vein * (1 - smooth(0, 0.05, line)))
        return mix(grout + 0 * p, colour * tone, smooth(0.0012, 0.0026, gap))

    return Material(pattern, shine, roughness)


def stone(colour: Array, vein: Array, scale: float = 1.4, shine: float = 0.05, roughness: float = 0.08) -> Material:
    """Marble or quartz."""

    def pattern(p: Array, n: Array) -> Array:
        bent = p * scale + 0.9 * fractal(p * scale * 1.7, 4)
        line = np.abs(fractal(bent + 3, 4) - 0.5)
        faint = np.abs(fractal(bent * 2.3 + 9, 3) - 0.5)
        share = 0.75 * (1 - smooth(0, 0.035, line)) + 0.25 * (1 - smooth(0, 0.06, faint))
        return mix(colour * (0.95 + 0.08 * noise(p * 40)), vein, share)

    return Material(pattern, shine, roughness)


def fabric(colour: Array, weave: float = 260, relief: float = 0.0012, mottle: float = 0.25) -> Material:
    """Cloth: threads, and a little wear."""

    def threads(p: Array) -> Array:
        return noise(p * weave) * 0.6 + 0.4 * noise(p * weave * 0.45)

    def pattern(p: Array, n: Array) -> Array:
        return np.asarray(colour * (1 - mottle * (threads(p) - 0.3)) * (0.93 + 0.12 * fractal(p * 5, 3)))

    return Material(pattern, height=lambda p: threads(p) + 3 * fractal(p * 8, 2), relief=relief, grain=0.003)


def leaves(colour: Array, vary: float = 0.5, cell: float = 0.05) -> Material:
    """Foliage: every leaf a green of its own."""

    def pattern(p: Array, n: Array) -> Array:
        tone = scatter(np.floor(p / cell), 6)
        hue = mix(vec(1.25, 1.05, 0.7), vec(0.8, 1.0, 1.0), scatter(np.floor(p / cell), 7))
        patch = 0.75 + 0.5 * fractal(p * 0.9, 3)
        return np.asarray(colour * hue * (1 + vary * (2 * tone - 1)) * patch)

    return Material(pattern)


def ground(colour: Array, scale: float = 25, contrast: float = 0.5, relief: float = 0.004) -> Material:
    """Soil, gravel, concrete, asphalt."""
    return Material(
        lambda p, n: (
            colour * (1 - contrast / 2 + contrast * fractal(p * scale, 4)) * (0.85 + 0.3 * fractal(p * 0.8, 3))
        ),
        height=lambda p: fractal(p * scale, 3),
        relief=relief,
    )
