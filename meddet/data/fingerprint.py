"""What stays of an image when only its likeness to others matters: a small picture of grey-value ranks."""

from functools import cache

import numpy as np
import scipy.ndimage
from jaxtyping import Float

SIDE = 96
"""Rows and columns of a fingerprint; its axes run over the image's own height and width, whatever those are."""
_FLAT = 1e-6


def fingerprint(pixels: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "96 96"]:
    """Average an image down and replace each value by the square of its rank in [0, 1).

    Ranks don't change under gamma, window or any other rising curve, and averaging forgets compression and noise. The
    square keeps the dark half, which is air and its noise, from counting as much as tissue.
    """
    rows, columns = averaging(pixels.shape[0], 0.0, 1.0, SIDE), averaging(pixels.shape[1], 0.0, 1.0, SIDE)
    small = rows @ pixels.astype(np.float32) @ columns.T
    ranks = np.empty(small.size, dtype=np.float32)
    ranks[np.argsort(small, axis=None, kind="stable")] = np.arange(small.size) / small.size
    return (ranks * ranks).reshape(small.shape)


@cache
def averaging(size: int, start: float, end: float, cells: int) -> Float[np.ndarray, "cells size"]:
    """Give the matrix that averages `size` samples over the interval [start, end] of their axis into `cells` cells."""
    edges = size * (start + (end - start) * np.linspace(0, 1, cells + 1))
    filled = np.clip(edges[:, None] - np.arange(size), 0, 1)
    weights = np.diff(filled, axis=0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def detail(images: Float[np.ndarray, "... d d"], *, sigma: float) -> Float[np.ndarray, "... d d"]:
    """Take away what is smoother than `sigma` samples."""
    blur = _blurring(images.shape[-1], sigma)
    return images - blur @ images @ blur.T


def relief(images: Float[np.ndarray, "... d d"], *, sigma: float) -> Float[np.ndarray, "... d d"]:
    """Give each image's detail the length 1, so that products are correlations; a flat image becomes (almost) 0."""
    left = detail(images, sigma=sigma)
    return left / np.sqrt((left * left).sum(axis=(-1, -2), keepdims=True) + np.float32(_FLAT))


@cache
def _blurring(size: int, sigma: float) -> Float[np.ndarray, "size size"]:
    identity = np.eye(size, dtype=np.float32)
    return scipy.ndimage.gaussian_filter(identity, (sigma, 0), mode="nearest").astype(np.float32)
