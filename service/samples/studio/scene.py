"""A scene: shapes in groups, lights, a sky, a camera."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from service.samples.studio.arrays import Array, cross, unit, vec
from service.samples.studio.materials import Material
from service.samples.studio.shapes import Shape, safe, slab

Sky = Callable[[Array], Array]
"""Radiance by direction."""


@dataclass(frozen=True, eq=False)
class Camera:
    """Always level, so that verticals stay upright; `rise` moves the picture up or down instead."""

    eye: Array
    target: Array
    width: int
    height: int
    angle: float = 72.0
    """Across the picture, in degrees."""
    rise: float = 0.0

    def rays(self, x: Array, y: Array) -> Array:
        """Directions through pixel coordinates."""
        forward = self.target - self.eye
        forward[1] = 0
        forward = unit(forward)
        right = cross(forward, vec(0, 1, 0))
        reach = float(np.tan(np.radians(self.angle / 2)))
        u = (x / self.width * 2 - 1) * reach
        v = (1 - y / self.height * 2) * reach * self.height / self.width + self.rise
        return safe(unit(forward + right * u + vec(0, 1, 0) * v)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Panel:
    """A rectangle that gives light to the side `cross(u, v)` points to: a lamp, or (without `glow`) a window."""

    corner: Array
    u: Array
    v: Array
    glow: Array | None = None
    samples: int = 1


@dataclass(frozen=True, eq=False)
class Bulb:
    """A glowing ball; `power` is radiant intensity."""

    middle: Array
    radius: float
    power: Array


@dataclass(eq=False)
class Group:
    """Shapes that are only looked at by rays which meet the box around them all."""

    shapes: list[Shape]
    first: int
    low: Array
    high: Array


@dataclass(frozen=True, eq=False)
class Surface:
    """What rays hit."""

    point: Array
    normal: Array
    which: Array


@dataclass(eq=False)
class Scene:
    """Everything to be rendered."""

    camera: Camera
    sky: Sky
    low: Array
    high: Array
    """The box in which light is cached."""
    spacing: float = 0.4
    sun: Array | None = None
    """Direction to it."""
    penumbra: float = 0.006
    """Half the sun's width, in radians."""
    sunlight: Array = field(default_factory=lambda: vec(0, 0, 0))
    exposure: float = 1.0
    warmth: float = 0.0
    samples: int = 22
    glare: float = 0.06
    lights: list[Panel | Bulb] = field(default_factory=list)
    windows: bool = True
    """Whether all skylight comes through windows among the lights."""
    shapes: list[Shape] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)

    def add(self, *parts: Shape | Sequence[Shape]) -> None:
        """Add shapes; each list is taken to be close together."""
        for part in parts:
            shapes = [part] if isinstance(part, Shape) else list(part)
            lows, highs = zip(*(shape.bounds() for shape in shapes), strict=True)
            self.groups.append(Group(shapes, len(self.shapes), np.minimum.reduce(lows), np.maximum.reduce(highs)))
            self.shapes.extend(shapes)

    def hit(self, o: Array, d: Array, limit: Array | float = np.inf, *, light: bool = False) -> tuple[Array, Array]:
        """Distance and index of the nearest shape (-1: none); only what casts shadows where `light`."""
        t: Array = np.full(d.shape[1], np.inf, dtype=np.float32)
        t = np.minimum(t, limit).astype(np.float32)
        which: Array = np.full(d.shape[1], -1, dtype=np.int32)
        inverse = 1 / d
        o = np.broadcast_to(o, d.shape)
        for group in self.groups:
            if len(group.shapes) == 1:
                self._nearer(group, None, o, d, inverse, t, which, light=light)
                continue
            enter, leave = slab(o, inverse, group.low, group.high)
            rows = np.flatnonzero((enter < leave) & (leave > 0) & (enter < t))
            if rows.size:
                self._nearer(group, rows, o[:, rows], d[:, rows], inverse[:, rows], t, which, light=light)
        return t, which

    @staticmethod
    def _nearer(
        group: Group, rows: Array | None, o: Array, d: Array, inverse: Array, t: Array, which: Array, *, light: bool
    ) -> None:
        mine = t if rows is None else t[rows]
        index = which if rows is None else which[rows]
        for offset, shape in enumerate(group.shapes):
            if light and not shape.casts:
                continue
            found = shape.hit(o, d, inverse, mine)
            closer = found < mine
            np.copyto(mine, found, where=closer)
            np.copyto(index, group.first + offset, where=closer)
        if rows is not None:
            t[rows] = mine
            which[rows] = index

    def surface(self, o: Array, d: Array, t: Array, which: Array) -> Surface:
        """Points and normals (towards the viewer) of hits; misses have a normal of zero."""
        point = o + d * np.where(which < 0, 0, t)
        normal: Array = np.zeros_like(d)
        for index in np.unique(which[which >= 0]):
            rows = np.flatnonzero(which == index)
            normal[:, rows] = self.shapes[index].normal(point[:, rows])
        normal = normal * np.where((normal * d).sum(axis=0) > 0, -1, 1)
        return Surface(point.astype(np.float32), normal.astype(np.float32), which)

    def materials(self) -> list[Material]:
        """Of every shape."""
        return [shape.material for shape in self.shapes]
