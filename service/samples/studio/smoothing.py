"""Noise taken out of soft light, without taking out edges."""

from dataclasses import dataclass

import numpy as np

from service.samples.studio.arrays import Array
from service.samples.studio.light import Light

_KERNEL = (0.375, 0.25, 0.0625)


def _shifted(image: Array, dy: int, dx: int) -> Array:
    rows = np.clip(np.arange(image.shape[0]) + dy, 0, image.shape[0] - 1)
    columns = np.clip(np.arange(image.shape[1]) + dx, 0, image.shape[1] - 1)
    return image[rows][:, columns]


def cleaned(light: Array, point: Array, normal: Array, rounds: int = 4) -> Array:
    """An edge-avoiding wavelet filter: neighbours count that lie in the same plane and are about as bright."""
    for level in range(rounds):
        step = 2**level
        total = light * _KERNEL[0] ** 2
        weights: Array = np.full(light.shape[:2], _KERNEL[0] ** 2, dtype=np.float32)
        # Compared after a blur: a lone bright sample must not protect itself.
        bright = _box(light.mean(axis=2), 2)
        size = np.maximum(np.abs(_shifted(point, 0, 1) - point).sum(axis=2), 0.004) * step
        for dy in range(-2, 3):
            for dx in range(-2, 3):
                if not (dy or dx):
                    continue
                near, there = _shifted(normal, dy * step, dx * step), _shifted(light, dy * step, dx * step)
                off_plane = np.abs(((_shifted(point, dy * step, dx * step) - point) * normal).sum(axis=2))
                other = _shifted(bright, dy * step, dx * step)
                change = np.abs(other - bright) / (0.5 * (other + bright) + 0.02)
                alike = np.clip((near * normal).sum(axis=2), 0, 1) ** 24
                weight = _KERNEL[abs(dy)] * _KERNEL[abs(dx)] * alike
                weight = weight * np.exp(-off_plane / (0.5 * size) - change * 2.2 * 1.6**level)
                total = total + there * weight[..., None]
                weights = weights + weight
        light = total / weights[..., None]
    return light


def _box(image: Array, radius: int) -> Array:
    for axis in (0, 1):
        pad = [(0, 0)] * image.ndim
        pad[axis] = (radius + 1, radius)
        total = np.cumsum(np.pad(image, pad, mode="edge"), axis=axis, dtype=np.float64)
        high = np.take(total, np.arange(2 * radius + 1, total.shape[axis]), axis=axis)
        low = np.take(total, np.arange(total.shape[axis] - 2 * radius - 1), axis=axis)
        image = ((high - low) / (2 * radius + 1)).astype(np.float32)
    return image


def blurred(image: Array, radius: int) -> Array:
    """Three box filters: close to a Gaussian."""
    for _ in range(3):
        image = _box(image, radius)
    return image


@dataclass(frozen=True, eq=False)
class SoftLight:
    """Light on the surfaces seen, at reduced resolution."""

    light: Array
    point: Array
    normal: Array
    coarse: int

    def at(self, x: Array, y: Array, p: Array, n: Array, light: Light) -> Array:
        """Light at a pixel, from neighbours on the same surface; from the cache where there are none."""
        high, wide = self.light.shape[:2]
        u, v = x / self.coarse - 0.5, y / self.coarse - 0.5
        left, top = np.floor(u), np.floor(v)
        total: Array = np.zeros_like(p)
        weights: Array = np.full(x.shape, 1e-5, dtype=np.float32)
        for dy in (-1, 0, 1, 2):
            for dx in (-1, 0, 1, 2):
                column = np.clip(left + dx, 0, wide - 1).astype(int)
                row = np.clip(top + dy, 0, high - 1).astype(int)
                near = np.exp(-0.9 * ((u - left - dx) ** 2 + (v - top - dy) ** 2))
                off = self.point[row, column].T - p
                plane = np.exp(-np.abs((off * n).sum(axis=0)) / (0.05 * np.sqrt((off * off).sum(axis=0)) + 0.004))
                alike = np.clip((self.normal[row, column].T * n).sum(axis=0), 0, 1) ** 8
                weight = near * plane * alike
                total += self.light[row, column].T * weight
                weights += weight
        result: Array = total / weights
        lost = np.flatnonzero(weights < 0.02)
        result[:, lost] = light.cached(p[:, lost], n[:, lost], exact=True)
        return result

    def reflections(self, gloss: Array, blur: Array) -> Array:
        """Reflections in rough surfaces, with their noise filtered."""
        grown = [np.repeat(np.repeat(a, self.coarse, 0), self.coarse, 1) for a in (self.point, self.normal)]
        point, normal = (a[: gloss.shape[0], : gloss.shape[1]] for a in grown)
        calm = cleaned(gloss, point, normal, rounds=3)
        share = np.clip((blur - 0.06) * 10, 0, 1)[..., None]
        return np.asarray(gloss + (calm - gloss) * share)
