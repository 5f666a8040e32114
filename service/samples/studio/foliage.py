"""Leaves and grass: a grid of cells, a leaf in each, found by walking from cell to cell."""

from dataclasses import dataclass, field

import numpy as np

from service.samples.studio.arrays import Array, dot, noise, scatter, unit, vec
from service.samples.studio.shapes import NEAR, Shape, safe


@dataclass(eq=False)
class Foliage(Shape):
    """Leaves within an ellipsoid (or the whole box), denser in clumps."""

    cell: Array = field(default_factory=lambda: vec(0.05, 0.05, 0.05))
    """Size of a cell, per axis."""
    density: float = 0.6
    clump: float = 1.0
    """Waves of density per metre; 0 = even."""
    crown: bool = True
    """Whether the ellipsoid bounds it."""
    upright: float = 1.0
    """Below 1, leaves stand; above, they lie."""
    slender: float = 1.0
    """How many times narrower than its cell a leaf is."""
    steps: int = 90

    def inner(self, o: Array, d: Array, enter: Array, leave: Array, limit: Array) -> Array:
        """Walk the cells of the rays that cross the box."""
        result: Array = np.full(o.shape[1], np.inf, dtype=np.float32)
        rows: Array = np.flatnonzero((enter < leave) & (leave > NEAR) & (enter < limit))
        if not rows.size:
            return result
        o, d = o[:, rows] / self.cell, safe(d[:, rows] / self.cell)
        end = np.minimum(leave, limit)[rows]
        start = o + d * (np.maximum(enter[rows], 0) + 1e-4)
        cell = np.floor(start)
        stride = np.abs(1 / d)
        side = np.where(d > 0, cell + 1 - o, cell - o) / d
        for _ in range(self.steps):
            t = self._leaf(cell, o, d)
            out = np.minimum(np.minimum(side[0], side[1]), side[2])
            found = (t < end) & (t > NEAR)
            result[rows[found]] = t[found]
            axis = np.argmin(side, axis=0)[None]
            onward = np.take_along_axis(np.sign(d), axis, 0)
            np.put_along_axis(cell, axis, np.take_along_axis(cell, axis, 0) + onward, 0)
            np.put_along_axis(side, axis, np.take_along_axis(side + stride, axis, 0), 0)
            going = ~found & (out < end)
            rows, end = rows[going], end[going]
            o, d, cell, side, stride = (a[:, going] for a in (o, d, cell, side, stride))
            if not rows.size:
                break
        return result

    def _pose(self, cell: Array) -> tuple[Array, Array]:
        """Middle and normal of a cell's leaf, in units of cells."""
        r = [scatter(cell, salt) for salt in range(4)]
        around = r[0] * np.float32(2 * np.pi)
        height = (2 * r[1] - 1) * self.upright
        flat = np.sqrt(np.maximum(1 - np.minimum(height * height, 1), 0.05))
        normal = unit(np.stack([np.cos(around) * flat, height, np.sin(around) * flat]))
        middle = cell + 0.5 + 0.3 * (np.stack([r[2], r[3], r[0]]) - 0.5)
        return middle, normal

    def _leaf(self, cell: Array, o: Array, d: Array) -> Array:
        middle, normal = self._pose(cell)
        t = dot(middle - o, normal) / safe(dot(d, normal))
        q = o + d * t - middle
        q[0] *= self.slender
        q[2] *= self.slender
        grows = scatter(cell, 9) < self._fullness(cell)
        return np.where(grows & (dot(q, q) < 0.3), t, np.float32(np.inf))

    def _fullness(self, cell: Array) -> Array:
        p = (cell + 0.5) * self.cell
        full: Array = np.full(cell.shape[1], self.density, dtype=np.float32)
        if self.clump:
            full = np.clip((noise(p * self.clump + self.centre) - 0.38) * 6, 0, 1) * self.density
        if self.crown:
            q = p / self.half
            full = np.where(dot(q, q) < 0.8 + 0.4 * (noise(p * 2.3) - 0.3), full, np.float32(0))
        return full

    def facing(self, p: Array) -> Array:
        """The leaf's normal, bent outwards so that crowns look round."""
        _, normal = self._pose(np.floor(p / self.cell))
        normal = unit(normal / self.cell)
        outward = unit(p / self.half**2)
        normal = normal * np.where(dot(normal, outward) < 0, -1, 1)
        return unit(normal + outward * (0.9 if self.crown else 0))
