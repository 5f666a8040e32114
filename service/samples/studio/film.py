"""From light to a picture: exposure, glare, tone curve, vignette, grain."""

import io

import numpy as np
from PIL import Image

from service.samples.studio.arrays import Array
from service.samples.studio.smoothing import blurred


def develop(light: Array, exposure: float, warmth: float, glare: float, grain: float = 0.006) -> Image.Image:
    """An 8-bit picture."""
    high, wide = light.shape[:2]
    x = light * exposure * np.array([1 + warmth, 1, 1 - warmth], dtype=np.float32)
    bright = np.minimum(x, 8)
    x = x + glare * (blurred(bright, wide // 160) * 0.5 + blurred(bright, wide // 40) * 0.5 - bright)
    across, down = np.linspace(-1, 1, wide)[None, :, None], np.linspace(-1, 1, high)[:, None, None]
    x = np.maximum(x, 0) * (1 - 0.1 * (across**2 + down**2))
    x = _curve(x)
    encoded = np.where(x < 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-6) ** (1 / 2.4) - 0.055)
    rng = np.random.default_rng(5)
    encoded = encoded + grain * blurred(rng.standard_normal((high, wide, 1)).astype(np.float32), 1) * 3
    return Image.fromarray((np.clip(encoded, 0, 1) * 255 + rng.random((high, wide, 1))).clip(0, 255).astype(np.uint8))


def _curve(x: Array) -> Array:
    """Highlights roll off and lose colour; a little contrast."""
    peak = x.max(axis=2, keepdims=True)
    pale = np.clip((peak - 1.0) / 4, 0, 0.8)
    x = x + (peak - x) * pale
    x = x * (1 + x / 16) / (1 + x * 0.85)
    toe: Array = np.clip(x, 0, 1) ** 1.12
    return toe


def jpeg(picture: Image.Image, quality: int) -> bytes:
    """The file's bytes."""
    target = io.BytesIO()
    picture.save(target, "JPEG", quality=quality, optimize=True, progressive=True, subsampling="4:2:0")
    return target.getvalue()
