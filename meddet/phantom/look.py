"""From magnitudes to the grey values of a file: window, resampling, padding, coarse tones, JPEG."""

import io

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from PIL import Image
from scipy.ndimage import gaussian_filter

from meddet.phantom.acquisition import DECIMALS
from meddet.phantom.protocol import Look
from meddet.phantom.raster import upsample

_LOCAL_STEP = 8
_LOCAL_SHARE = 0.06
"""Size of the neighbourhood that a local contrast filter looks at, relative to the image's longer side."""


def window(magnitude: Float[ndarray, "h w"], look: Look) -> Float[ndarray, "h w"]:
    """Scale to grey values 0..255, not yet clipped or rounded."""
    bright = max(float(np.percentile(magnitude, 99.9)), 1e-3)
    if look.window == "csf":
        grey = magnitude * look.level
    elif look.window == "inverted":
        grey = 255 - np.minimum(magnitude * look.level, 255)
    elif look.window == "local":
        grey = _local(magnitude / bright) * look.level
    else:
        grey = look.level * np.maximum(magnitude / bright, 0) ** look.gamma + look.lift
    return np.round(grey, DECIMALS)


def _local(magnitude: Float[ndarray, "h w"]) -> Float[ndarray, "h w"]:
    """Divide by the mean of the neighbourhood, in part: what contrast-limited equalisation does to the eye."""
    height, width = (side // _LOCAL_STEP * _LOCAL_STEP for side in magnitude.shape)
    blocks = magnitude[:height, :width].reshape(height // _LOCAL_STEP, _LOCAL_STEP, width // _LOCAL_STEP, _LOCAL_STEP)
    coarse = gaussian_filter(blocks.mean(axis=(1, 3)), _LOCAL_SHARE * max(magnitude.shape) / _LOCAL_STEP)
    even = magnitude / (upsample(coarse, magnitude.shape) + 0.15)
    return even / max(float(np.percentile(even, 99.7)), 1e-3)


def export(
    grey: Float[ndarray, "h w"], look: Look, shape: tuple[int, int], *, flipped: bool
) -> Float[ndarray, "rows columns"]:
    """Give the file's grey values, unclipped unless something coarse was done to them."""
    if grey.shape != shape:
        small = Image.fromarray(np.clip(grey, 0, 65535).astype(np.float32))
        large = np.asarray(small.resize(shape[::-1], Image.Resampling.BICUBIC), dtype=float)
        grey = np.round(np.maximum(large, 0), 3)
    if look.tones:
        step = 255 / (look.tones - 1)
        grey = np.floor(np.clip(grey, 0, 255) / step + 0.5) * step
    grey = _padded(grey, look)
    if flipped:
        grey = grey[:, ::-1].copy()
    if look.jpeg:
        file = io.BytesIO()
        Image.fromarray(to_uint8(grey)).save(file, format="JPEG", quality=look.jpeg)
        grey = np.asarray(Image.open(file), dtype=float)
    return grey


def _padded(grey: Float[ndarray, "h w"], look: Look) -> Float[ndarray, "h w"]:
    """Cover both ends of an axis by bars of one tone."""
    grey = grey.copy()
    for axis, share in ((1, look.bars[0]), (0, look.bars[1])):
        count = int(share * grey.shape[axis])
        if count:
            turned = np.moveaxis(grey, axis, 0)
            turned[:count] = look.bar_tone
            turned[-count:] = look.bar_tone
    return grey


def jpeg_severity(quality: int) -> int:
    """Give 1 to 3 for a quality, 0 for no JPEG."""
    return 0 if quality == 0 else 1 if quality >= 88 else 2 if quality >= 80 else 3


def to_uint8(grey: Float[ndarray, "h w"]) -> ndarray:
    """Clip and round to 8 bits."""
    return np.floor(np.clip(grey, 0, 255) + 0.5).astype(np.uint8)
