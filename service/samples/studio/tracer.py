"""Renders a scene: soft light coarsely and cleaned of noise, everything sharp at full resolution."""

import numpy as np

from service.samples.studio.arrays import Array, dot, unit
from service.samples.studio.light import CHUNK, OFF, Light
from service.samples.studio.scene import Scene, Surface
from service.samples.studio.shapes import safe
from service.samples.studio.smoothing import SoftLight, cleaned

COARSE = 3
"""Pixels per side for each point of soft light."""


def render(scene: Scene, quality: float = 1.0) -> Array:
    """Linear light, (height, width, 3)."""
    light = Light(scene, np.random.default_rng(11))
    light.fill()
    soft = _soft_light(light, max(4, round(scene.samples * quality)))
    camera = scene.camera
    picture: Array = np.zeros((camera.height * camera.width, 3), dtype=np.float32)
    gloss = np.zeros_like(picture)
    blur: Array = np.zeros(len(picture), dtype=np.float32)
    passes = 4 if quality >= 1 else 1
    for start in range(0, len(picture), CHUNK):
        pixels = np.arange(start, min(start + CHUNK, len(picture)))
        for turn in range(passes):
            x = pixels % camera.width + (0.25 + 0.5 * (turn % 2) + light.rng.uniform(-0.2, 0.2, pixels.size))
            y = pixels // camera.width + (0.25 + 0.5 * (turn // 2) + light.rng.uniform(-0.2, 0.2, pixels.size))
            colour, shine, rough = _shade(light, soft, x.astype(np.float32), y.astype(np.float32))
            picture[pixels] += colour.T / passes
            gloss[pixels] += shine.T / passes
            blur[pixels] += rough / passes
    shape = (camera.height, camera.width, 3)
    return picture.reshape(shape) + soft.reflections(gloss.reshape(shape), blur.reshape(shape[:2]))


def _soft_light(light: Light, samples: int) -> SoftLight:
    camera = light.scene.camera
    wide, high = -(-camera.width // COARSE), -(-camera.height // COARSE)
    found: list[Array] = []
    for start in range(0, wide * high, CHUNK):
        pixels = np.arange(start, min(start + CHUNK, wide * high))
        x = ((pixels % wide + 0.5) * COARSE).astype(np.float32)
        y = ((pixels // wide + 0.5) * COARSE).astype(np.float32)
        d = camera.rays(x, y)
        t, which = light.scene.hit(camera.eye, d)
        s = light.scene.surface(camera.eye, d, t, which)
        falling: Array = np.zeros_like(d)
        rows = np.flatnonzero(which >= 0)
        near = Surface(s.point[:, rows], s.normal[:, rows], which[rows])
        falling[:, rows] = light.gather(near, samples)
        found.append(np.concatenate([falling, s.point, s.normal]))
    maps = np.concatenate(found, axis=1).T.reshape(high, wide, 9)
    return SoftLight(cleaned(maps[..., :3], maps[..., 3:6], maps[..., 6:]), maps[..., 3:6], maps[..., 6:], COARSE)


def _shade(light: Light, soft: SoftLight, x: Array, y: Array) -> tuple[Array, Array, Array]:
    scene = light.scene
    d = scene.camera.rays(x, y)
    t, which = scene.hit(scene.camera.eye, d)
    s = scene.surface(scene.camera.eye, d, t, which)
    colour: Array = np.zeros_like(d)
    gloss: Array = np.zeros_like(d)
    rough: Array = np.zeros(d.shape[1], dtype=np.float32)
    miss = np.flatnonzero(which < 0)
    colour[:, miss] = scene.sky(d[:, miss])
    rows = np.flatnonzero(which >= 0)
    p, n, d = s.point[:, rows], s.normal[:, rows], d[:, rows]
    skin, bent, shine, blur, metal = _look(scene, p, n, which[rows])
    glow = light.glows[:, which[rows]]
    p = p + n * OFF
    falling = soft.at(x[rows], y[rows], p, n, light) + light.sunshine(p, bent)
    tilted = np.flatnonzero(np.abs(bent - n).max(axis=0) > 1e-3)
    falling[:, tilted] *= _tilt(light, p[:, tilted], n[:, tilted], bent[:, tilted])
    colour[:, rows] = np.where(metal, 0, skin * falling) + glow
    polished = np.flatnonzero(shine > 0)
    face = np.clip(-dot(bent, d), 0, 1)
    fresnel = shine + (1 - shine) * (1 - face) ** 5 * np.clip(1 - blur * 1.8, 0.1, 1)
    tint = np.where(metal, skin * np.minimum(fresnel + 0.1, 1), fresnel)[:, polished]
    seen = _mirrored(light, p[:, polished], bent[:, polished], d[:, polished], blur[polished])
    gloss[:, rows[polished]] = tint * np.minimum(seen, 25)
    rough[rows[polished]] = blur[polished]
    return colour, gloss, rough


def _look(scene: Scene, p: Array, n: Array, which: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Colour, bumped normal, shine, roughness, whether metal."""
    skin: Array = np.zeros_like(p)
    bent = n.copy()
    shine: Array = np.zeros(p.shape[1], dtype=np.float32)
    blur = shine.copy()
    metal: Array = np.zeros(p.shape[1], dtype=bool)
    for index in np.unique(which):
        shape = scene.shapes[index]
        material = shape.material
        rows = np.flatnonzero(which == index)
        here, facing = p[:, rows], n[:, rows]
        if shape.turn is not None:
            here, facing = shape.local(here), shape.turn.T @ facing
        skin[:, rows] = material.pattern(here, facing)
        if material.height is not None:
            slope = material.slope(here)
            slope -= facing * dot(slope, facing)
            facing = unit(facing - slope)
            bent[:, rows] = facing if shape.turn is None else shape.turn @ facing
        shine[rows], blur[rows], metal[rows] = material.shine, material.roughness, material.metal
    return skin, bent, shine, blur, metal


def _tilt(light: Light, p: Array, n: Array, bent: Array) -> Array:
    """How much more or less light a bumped normal gets, by the cache."""
    flat, bumped = light.cached(p, n, exact=True), light.cached(p, bent, exact=True)
    return np.asarray(np.clip((bumped + 0.02) / (flat + 0.02), 0.4, 1.8))


def _mirrored(light: Light, p: Array, n: Array, d: Array, blur: Array) -> Array:
    if not p.shape[1]:
        return np.zeros_like(p)
    scene = light.scene
    fuzz = light.rng.standard_normal(p.shape, dtype=np.float32) * (blur * blur * 0.9)
    away = safe(unit(d - n * (2 * dot(n, d)) + fuzz))
    t, which = scene.hit(p, away)
    s = scene.surface(p, away, t, which)
    seen: Array = np.zeros_like(p)
    miss = np.flatnonzero(which < 0)
    seen[:, miss] = scene.sky(away[:, miss])
    rows = np.flatnonzero(which >= 0)
    point, normal, index = s.point[:, rows], s.normal[:, rows], which[rows]
    skin, _, _, _, _ = _look(scene, point, normal, index)
    point = point + normal * OFF
    falling = light.cached(point, normal, exact=True) + light.sunshine(point, normal)
    seen[:, rows] = skin * falling + light.glows[:, index]
    return seen
