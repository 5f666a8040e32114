"""Shapes that rays hit. Only entering counts: a ray that starts inside a shape does not see it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from service.samples.studio.arrays import Array, dot, unit, vec
from service.samples.studio.materials import Material

NEAR = 1e-5


def safe(d: Array) -> Array:
    """Directions that can be divided by."""
    return np.where(np.abs(d) < 1e-7, np.float32(1e-7), d)


def slab(o: Array, inverse: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Where rays enter and leave a box."""
    a = (low - o) * inverse
    b = (high - o) * inverse
    first = np.minimum(a, b)
    last = np.maximum(a, b)
    enter: Array = np.maximum(np.maximum(first[0], first[1]), first[2])
    leave: Array = np.minimum(np.minimum(last[0], last[1]), last[2])
    return enter, leave


@dataclass(eq=False)
class Shape:
    """A box about `centre`, or what subclasses make of it."""

    material: Material
    centre: Array
    half: Array
    turn: Array | None = None
    """Local to world; `None` also means that textures go by world coordinates."""
    bevel: float = 0.0
    casts: bool = True
    """Whether it is in the way of light."""

    def local(self, p: Array) -> Array:
        """World to local."""
        moved = p - self.centre
        return moved if self.turn is None else self.turn.T @ moved

    def bounds(self) -> tuple[Array, Array]:
        """A world box around it."""
        reach = self.half if self.turn is None else np.abs(self.turn) @ self.half
        return self.centre - reach, self.centre + reach

    def hit(self, o: Array, d: Array, inverse: Array, limit: Array) -> Array:
        """Distance along each world ray; infinite where it is missed."""
        o = self.local(o)
        if self.turn is not None:
            d = safe(self.turn.T @ d)
            inverse = 1 / d
        enter, leave = slab(o, inverse, -self.half, self.half)
        return self.inner(o, d, enter, leave, limit)

    def inner(self, o: Array, d: Array, enter: Array, leave: Array, limit: Array) -> Array:
        """Distance along local rays of which the box around is known."""
        return np.where((enter < leave) & (enter > NEAR) & (enter < limit), enter, np.float32(np.inf))

    def normal(self, p: Array) -> Array:
        """World normal at a world point of the surface."""
        n = self.facing(self.local(p))
        return n if self.turn is None else self.turn @ n

    def facing(self, p: Array) -> Array:
        """Local normal; edges are rounded within `bevel`."""
        depth = self.half - np.abs(p)
        face = np.argmin(depth, axis=0)
        n: Array = np.zeros_like(p)
        np.put_along_axis(n, face[None], 1, axis=0)
        if self.bevel:
            n = unit(np.maximum(n, np.clip(1 - depth / min(self.bevel, float(self.half.min())), 0, 1)))
        facing: Array = n * np.sign(p)
        return facing


@dataclass(eq=False)
class Ball(Shape):
    """An ellipsoid."""

    def inner(self, o: Array, d: Array, enter: Array, leave: Array, limit: Array) -> Array:
        """Solve the quadratic in the space where it is a sphere."""
        o, d = o / self.half, d / self.half
        a, b, c = dot(d, d), dot(o, d), dot(o, o) - 1
        root = b * b - a * c
        t = (-b - np.sqrt(np.maximum(root, 0))) / a
        return np.where((root > 0) & (t > NEAR) & (t < limit), t, np.float32(np.inf))

    def facing(self, p: Array) -> Array:
        """Gradient."""
        return unit(p / self.half**2)


@dataclass(eq=False)
class Tube(Shape):
    """An upright (locally) elliptic cylinder with lids."""

    def inner(self, o: Array, d: Array, enter: Array, leave: Array, limit: Array) -> Array:
        """The ray is inside both the endless cylinder and the box."""
        x, z, u, w = o[0] / self.half[0], o[2] / self.half[2], d[0] / self.half[0], d[2] / self.half[2]
        a, b, c = u * u + w * w, x * u + z * w, x * x + z * z - 1
        root = b * b - a * c
        wide = np.sqrt(np.maximum(root, 0))
        t = np.maximum((-b - wide) / a, enter)
        good = (root > 0) & (t < np.minimum((wide - b) / a, leave)) & (t > NEAR) & (t < limit)
        return np.where(good, t, np.float32(np.inf))

    def facing(self, p: Array) -> Array:
        """Lids up and down, outwards elsewhere."""
        side = p / self.half
        lid = np.abs(side[1]) > 0.9999
        n = np.stack([side[0] / self.half[0], np.zeros_like(p[1]), side[2] / self.half[2]])
        return np.where(lid, vec(0, 1, 0) * np.sign(p[1]), unit(n))


Field = Callable[[Array], Array]


@dataclass(eq=False)
class Solid(Shape):
    """Anything with a distance field, inside a box."""

    field: Field = lambda p: dot(p, p)
    steps: int = 56
    pace: float = 1.0
    """Below 1 for fields that overstate distances."""

    def inner(self, o: Array, d: Array, enter: Array, leave: Array, limit: Array) -> Array:
        """March along the rays that cross the box."""
        result: Array = np.full(o.shape[1], np.inf, dtype=np.float32)
        rows = np.flatnonzero((enter < leave) & (leave > NEAR) & (enter < limit))
        o, d, end = o[:, rows], d[:, rows], np.minimum(leave, limit)[rows]
        t = np.maximum(enter[rows], 0.0)
        # A ray that starts on the surface must get off it before it may hit it.
        t = np.where(enter[rows] < 0, t + 0.004, t)
        for _ in range(self.steps):
            if not rows.size:
                break
            gap = self.field(o + d * t)
            touched = gap < 0.0004
            result[rows[touched]] = t[touched]
            t = t + np.maximum(gap * self.pace, 0.0006)
            going = ~touched & (t < end)
            rows, o, d, t, end = rows[going], o[:, going], d[:, going], t[going], end[going]
        return result

    def facing(self, p: Array) -> Array:
        """Gradient by differences at the corners of a tetrahedron."""
        n: Array = np.zeros_like(p)
        for corner in (vec(1, -1, -1), vec(-1, -1, 1), vec(-1, 1, -1), vec(1, 1, 1)):
            n = n + corner * self.field(p + corner * 0.0015)
        return unit(n)


def rounded(half: Array, radius: float) -> Field:
    """Distance to a box with round edges."""

    def field(p: Array) -> Array:
        q = np.abs(p) - (half - radius)
        outside = np.maximum(q, 0)
        distance: Array = np.sqrt(dot(outside, outside)) + np.minimum(q.max(axis=0), 0) - radius
        return distance

    return field
