"""What grows and glows outside: lawns, hedges, trees, skies."""

import numpy as np

from service.samples.studio.arrays import Array, fractal, mix, smooth, vec
from service.samples.studio.foliage import Foliage
from service.samples.studio.materials import leaves, wood
from service.samples.studio.scene import Sky
from service.samples.studio.shapes import Shape, Tube

BARK = wood(vec(0.16, 0.12, 0.09), 1, 0.0)


def lawn(x: tuple[float, float], z: tuple[float, float], tall: float = 0.07) -> Foliage:
    """Blades of grass on the ground."""
    centre = vec(sum(x) / 2, tall / 2, sum(z) / 2)
    half = vec((x[1] - x[0]) / 2, tall / 2, (z[1] - z[0]) / 2)
    green = leaves(vec(0.13, 0.2, 0.05), 0.35, 0.02)
    return Foliage(
        green,
        centre,
        half,
        cell=vec(0.022, tall, 0.022),
        density=0.95,
        clump=0,
        crown=False,
        upright=0.3,
        slender=1.8,
        steps=70,
        casts=False,
    )


def hedge(x: tuple[float, float], y: float, z: tuple[float, float], colour: Array | None = None) -> list[Shape]:
    """A clipped hedge: leaves about a dark core."""
    centre = vec(sum(x) / 2, y / 2, sum(z) / 2)
    half = vec((x[1] - x[0]) / 2, y / 2, (z[1] - z[0]) / 2)
    green = leaves(vec(0.09, 0.16, 0.04) if colour is None else colour, 0.4, 0.05)
    dark = leaves(vec(0.03, 0.05, 0.015), 0.3, 0.05)
    core = Shape(dark, centre, half - 0.14)
    return [
        core,
        Foliage(green, centre, half, cell=vec(0.05, 0.05, 0.05), density=0.8, clump=0, crown=False, upright=1.2),
    ]


def tree(
    x: float, z: float, tall: float, wide: float, colour: Array, trunk: float = 0.35, cell: float = 0.09
) -> list[Shape]:
    """A tree: its crown begins at `trunk` of its height."""
    stem = tall * (trunk + 0.25)
    middle, half = tall * (1 + trunk) / 2, tall * (1 - trunk) / 2
    crown = Foliage(
        leaves(colour, 0.4, cell),
        vec(x, middle, z),
        vec(wide, half, wide),
        cell=vec(cell, cell, cell),
        density=0.7,
        clump=1.1,
        steps=110,
    )
    return [Tube(BARK, vec(x, stem / 2, z), vec(0.03 * tall, stem / 2, 0.03 * tall)), crown]


def _clouds(d: Array) -> Array:
    """How much cloud there is in each direction."""
    height = np.maximum(d[1], 0.03) + 0.12
    q = np.stack([d[0] / height * 1.1, d[2] / height * 2.2, 0 * height])
    return smooth(0.48, 0.78, fractal(q + 0.7 * fractal(q * 1.7, 3), 5))


def dusk(level: float) -> Sky:
    """After sunset, the afterglow towards -z."""

    def sky(d: Array) -> Array:
        up = np.clip(d[1], 0, 1)
        towards = np.clip(-d[2] * 0.6 + 0.5 + 0.25 * d[0], 0, 1)
        low = mix(vec(0.4, 0.36, 0.5), vec(1.3, 0.72, 0.42), towards)
        high = mix(vec(0.1, 0.17, 0.4), vec(0.22, 0.32, 0.62), towards)
        clear = mix(low, high, smooth(0.0, 0.45, up))
        lit = mix(vec(0.24, 0.22, 0.33), vec(1.25, 0.62, 0.45), towards * (1 - smooth(0.05, 0.5, up)))
        return np.asarray(mix(clear, lit, _clouds(d) * 0.75) * level, dtype=np.float32)

    return sky


def day(level: float) -> Sky:
    """A fair afternoon."""

    def sky(d: Array) -> Array:
        up = np.clip(d[1], 0, 1)
        clear = mix(vec(0.82, 0.9, 1.0), vec(0.22, 0.45, 0.95), smooth(-0.05, 0.75, up))
        return np.asarray(mix(clear, vec(1.3, 1.28, 1.25), _clouds(d) * 0.85) * level, dtype=np.float32)

    return sky
