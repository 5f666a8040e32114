"""How light gets about: lamps and windows sampled directly, the rest from a cache of the room's light.

Irradiance is divided by pi throughout, so that a surface gives off its colour times what falls on it.
"""

from dataclasses import dataclass

import numpy as np

from service.samples.studio.arrays import Array, cross, dot, unit, vec
from service.samples.studio.scene import Bulb, Panel, Scene, Surface
from service.samples.studio.shapes import safe

CHUNK = 32768
OFF = 3e-4
"""How far rays start from the surface they leave, in metres."""
AXES = np.repeat(np.eye(3, dtype=np.float32), 2, axis=0) * np.array([[1], [-1]] * 3, dtype=np.float32)


def cosine(normal: Array, a: Array, b: Array) -> Array:
    """Directions about normals, as likely as they matter, from two uniform numbers."""
    z = 1 - 2 * a
    r = np.sqrt(np.maximum(1 - z * z, 0))
    ball = np.stack([r * np.cos(2 * np.pi * b), r * np.sin(2 * np.pi * b), z])
    return safe(unit(normal * 1.0005 + ball)).astype(np.float32)


@dataclass(eq=False)
class Light:
    """The light in a scene; made once per picture."""

    scene: Scene
    rng: np.random.Generator

    def __post_init__(self) -> None:
        """Set up an empty cache."""
        scene = self.scene
        self.counts = np.maximum(2, np.ceil((scene.high - scene.low)[:, 0] / scene.spacing).astype(int) + 1)
        self.cell = (scene.high - scene.low) / (self.counts[:, None] - 1)
        self.cache: Array = np.zeros((*self.counts, 6, 3), dtype=np.float32)
        self.colours = np.concatenate([m.average for m in scene.materials()], axis=1).astype(np.float32)
        glows = [m.glow if m.glow is not None else vec(0, 0, 0) for m in scene.materials()]
        self.glows = np.concatenate(glows, axis=1).astype(np.float32)

    def fill(self, rounds: int = 3, rays: int = 160) -> None:
        """Let light bounce through the cache."""
        low, cell = self.scene.low, self.cell
        index = np.stack(np.meshgrid(*(np.arange(n) for n in self.counts), indexing="ij")).reshape(3, -1)
        points = (low + index * cell).astype(np.float32)
        direct = self._direct_cubes(points)
        for _ in range(rounds):
            cubes = direct.copy()
            for start in range(0, points.shape[1], CHUNK // rays):
                part = points[:, start : start + CHUNK // rays]
                cubes[start : start + part.shape[1]] += self._gathered_cubes(part, rays)
            self.cache = cubes.reshape(*self.counts, 6, 3)

    def _direct_cubes(self, points: Array) -> Array:
        cubes: Array = np.zeros((points.shape[1], 6, 3), dtype=np.float32)
        for start in range(0, points.shape[1], CHUNK):
            part = points[:, start : start + CHUNK]
            for _ in range(12):
                for light in self.scene.lights:
                    d, radiance = self.sample(light, part)
                    facing = np.maximum(AXES @ d, 0)
                    cubes[start : start + CHUNK] += np.einsum("an,cn->nac", facing, radiance) / 12
        return cubes

    def _gathered_cubes(self, points: Array, rays: int) -> Array:
        count = points.shape[1]
        d = safe(unit(self.rng.standard_normal((3, count * rays), dtype=np.float32)))
        o = np.repeat(points, rays, axis=1)
        radiance = self.arriving(o, d).reshape(3, count, rays)
        facing = np.maximum(AXES @ d, 0).reshape(6, count, rays)
        return np.asarray(np.einsum("anr,cnr->nac", facing, radiance) * (4 / rays))

    def sample(self, light: Panel | Bulb, p: Array) -> tuple[Array, Array]:
        """Direction to a random point of a light, and what comes from there per cosine."""
        n = p.shape[1]
        if isinstance(light, Bulb):
            target = light.middle + light.radius * 0.9 * unit(self.rng.standard_normal((3, n), dtype=np.float32))
            to, strength = target - p, light.power / np.pi
            far = np.sqrt(dot(to, to))
            d = safe(to / far)
            weight = 1 / np.maximum(far, light.radius) ** 2
        else:
            a, b = self.rng.random((2, n), dtype=np.float32)
            target = light.corner + light.u * a + light.v * b
            to = target - p
            far = np.sqrt(dot(to, to))
            d = safe(to / far)
            area = cross(light.u, light.v)
            facing = np.maximum(-dot(area, d), 0)
            weight = np.minimum(facing / (np.pi * far**2), 1.0)
            strength = self.scene.sky(d) if light.glow is None else light.glow
        reach = np.inf if isinstance(light, Panel) and light.glow is None else far - 0.01
        rows = np.flatnonzero(weight > 1e-6)
        seen: Array = np.zeros(n, dtype=np.float32)
        limit = reach[rows] if isinstance(reach, np.ndarray) else reach
        _, which = self.scene.hit(p[:, rows], d[:, rows], limit, light=True)
        seen[rows] = which < 0
        return d, (strength * (weight * seen)).astype(np.float32)

    def direct(self, p: Array, n: Array) -> Array:
        """Irradiance from lamps and windows."""
        total: Array = np.zeros_like(p)
        for light in self.scene.lights:
            repeats = light.samples if isinstance(light, Panel) else 1
            for _ in range(repeats):
                d, radiance = self.sample(light, p)
                total += radiance * (np.maximum(dot(n, d), 0) / repeats)
        return total

    def sunshine(self, p: Array, n: Array) -> Array:
        """Irradiance from the sun."""
        total: Array = np.zeros_like(p)
        if self.scene.sun is None:
            return total
        d = safe(unit(self.scene.sun + self.scene.penumbra * self.rng.standard_normal(p.shape, dtype=np.float32)))
        facing = dot(n, d)
        rows = np.flatnonzero(facing > 0)
        _, which = self.scene.hit(p[:, rows], d[:, rows], light=True)
        total[:, rows] = self.scene.sunlight * (facing[rows] * (which < 0))
        return total

    def cached(self, p: Array, n: Array, *, exact: bool = False) -> Array:
        """Irradiance by the cache: between its points, or (`exact` unset) at one of them by chance."""
        at = (p + n * (0.35 * self.cell) - self.scene.low) / self.cell
        top = (self.counts[:, None] - 1).astype(np.float32)
        sides = (n < 0) + np.array([[0], [2], [4]])
        share = n * n
        if not exact:
            index = np.clip(at + self.rng.random(p.shape, dtype=np.float32), 0, top).astype(int)
            return self._look(index, sides, share)
        base = np.clip(np.floor(at), 0, top - 1)
        f = np.clip(at - base, 0, 1)
        total: Array = np.zeros_like(p)
        for corner in np.ndindex(2, 2, 2):
            c = np.array(corner)[:, None]
            weight = np.prod(np.where(c, f, 1 - f), axis=0)
            total += self._look((base + c).astype(int), sides, share) * weight
        return total

    def _look(self, index: Array, sides: Array, share: Array) -> Array:
        flat = self.cache.reshape(-1, 3)
        row = ((index[0] * self.counts[1] + index[1]) * self.counts[2] + index[2]) * 6
        light = sum(flat[row + sides[axis]] * share[axis][:, None] for axis in range(3))
        return np.ascontiguousarray(np.asarray(light).T)

    def arriving(self, o: Array, d: Array, *, sky: bool | None = None) -> Array:
        """Radiance along rays that have left a surface; mean colours, cached light."""
        t, which = self.scene.hit(o, d, light=True)
        s = self.scene.surface(o, d, t, which)
        hits = np.flatnonzero(which >= 0)
        radiance: Array = np.zeros_like(d)
        if not self.scene.windows if sky is None else sky:
            miss = np.flatnonzero(which < 0)
            radiance[:, miss] = self.scene.sky(d[:, miss])
        p, n, index = s.point[:, hits], s.normal[:, hits], which[hits]
        p = p + n * OFF
        falling = self.cached(p, n) + self.sunshine(p, n)
        radiance[:, hits] = self.colours[:, index] * falling + self.glows[:, index]
        return radiance

    def gather(self, s: Surface, turns: int) -> Array:
        """Irradiance without the sun's, by many rays."""
        n = s.normal
        p = s.point + n * OFF
        total: Array = np.zeros_like(p)
        offset = self.rng.random((2, p.shape[1]), dtype=np.float32)
        for turn in range(turns):
            a = (offset[0] + np.float32(turn * 0.7548776662)) % 1
            b = (offset[1] + np.float32(turn * 0.5698402910)) % 1
            radiance = self.arriving(p, cosine(n, a, b))
            total += np.minimum(radiance, 4.0)
            if turn % 2 == 0:
                total += 2 * self.direct(p, n) if turn + 1 < turns else self.direct(p, n)
        return total / turns
