"""Vectors as float32 arrays of shape (3, n), and the noise that textures are made of."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

_CELLS = 64
_TABLE: Array = np.random.default_rng(7).random(_CELLS**3, dtype=np.float32)


def vec(x: float, y: float, z: float) -> Array:
    """One point or colour, shaped to combine with many."""
    return np.array([[x], [y], [z]], dtype=np.float32)


def grey(value: float) -> Array:
    """A colour without hue."""
    return vec(value, value, value)


def dot(a: Array, b: Array) -> Array:
    """Row by row; faster than einsum for three rows."""
    product: Array = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    return product


def unit(v: Array) -> Array:
    """The same direction with length 1."""
    scaled: Array = v / np.sqrt(np.maximum(dot(v, v), 1e-12))
    return scaled


def cross(a: Array, b: Array) -> Array:
    """Perpendicular to both."""
    return np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def mix(a: Array, b: Array, share: Array | float) -> Array:
    """From `a` (share 0) to `b` (share 1)."""
    mixed: Array = a + (b - a) * share
    return mixed


def smooth(low: float, high: float, x: Array) -> Array:
    """0 below `low`, 1 above `high`, an S between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    step: Array = t * t * (3 - 2 * t)
    return step


def rotation(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> Array:
    """Local to world, in degrees: roll about z, then pitch about x, then yaw about y."""
    a, b, c = np.radians([yaw, pitch, roll])
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray(about_y @ about_x @ about_z, dtype=np.float32)


def scatter(cells: Array, salt: int = 0) -> Array:
    """A random number in [0, 1) per integer cell (any number of rows)."""
    h: Array = np.full(cells.shape[1:], (salt * 0x9E3779B1 + 0x7F4A7C15) & 0xFFFFFFFF, dtype=np.uint32)
    for row in cells:
        h = (h ^ row.astype(np.int32).view(np.uint32)) * np.uint32(0x85EBCA6B)
        h ^= h >> np.uint32(13)
        h *= np.uint32(0xC2B2AE35)
        h ^= h >> np.uint32(16)
    number: Array = (h >> np.uint32(8)).astype(np.float32) * np.float32(1 / (1 << 24))
    return number


def noise(p: Array) -> Array:
    """Smooth value noise in [0, 1], one wave per unit."""
    base = np.floor(p)
    f = p - base
    f = f * f * (3 - 2 * f)
    cell = base.astype(np.int32) & (_CELLS - 1)
    after = (cell + 1) & (_CELLS - 1)
    x0, x1 = cell[0] * _CELLS**2, after[0] * _CELLS**2
    y0, y1 = cell[1] * _CELLS, after[1] * _CELLS
    z0, z1 = cell[2], after[2]
    low = mix(
        mix(_TABLE[x0 + y0 + z0], _TABLE[x1 + y0 + z0], f[0]),
        mix(_TABLE[x0 + y1 + z0], _TABLE[x1 + y1 + z0], f[0]),
        f[1],
    )
    high = mix(
        mix(_TABLE[x0 + y0 + z1], _TABLE[x1 + y0 + z1], f[0]),
        mix(_TABLE[x0 + y1 + z1], _TABLE[x1 + y1 + z1], f[0]),
        f[1],
    )
    return mix(low, high, f[2])


def fractal(p: Array, octaves: int = 4) -> Array:
    """Noise with finer noise on top, in [0, 1]."""
    total: Array = np.zeros(p.shape[1:], dtype=np.float32)
    weight, sum_of_weights = 1.0, 0.0
    for octave in range(octaves):
        total += weight * noise(p * 2.03**octave + 17.3 * octave)
        sum_of_weights += weight
        weight *= 0.5
    total /= sum_of_weights
    return total
