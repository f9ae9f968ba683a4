"""The writing that a workstation burns into pictures: lines of text at the edges and a scale bar.

Put on training images only, so that a detector meets it before it meets a screenshot.
"""

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import torch
from jaxtyping import Float
from torch import Tensor

_LETTERS = np.array(list("ABCDEFGHIKLMNOPRSTUVWZ0123456789.:/-"))
_MOST_LINES = 6
_LETTER_HEIGHT = (0.014, 0.03)
"""Of the image's height."""
_BAR_LENGTH = (0.2, 0.45)


def write_marks(pixels: Float[Tensor, "1 h w"], rng: np.random.Generator) -> Float[Tensor, "1 h w"]:
    """Write random text into one to four corners of an image in [0, 1], and a scale bar on every second one."""
    height, width = pixels.shape[1:]
    layer = PIL.Image.new("L", (width, height))
    pen = PIL.ImageDraw.Draw(layer)
    size = max(6, round(height * rng.uniform(*_LETTER_HEIGHT)))
    font = PIL.ImageFont.load_default(size)
    for corner in rng.permutation(4)[: rng.integers(1, 5)]:
        lines = [_word(rng) for _ in range(rng.integers(1, _MOST_LINES + 1))]
        right, low = divmod(int(corner), 2)
        pen.multiline_text(
            (width - 3 if right else 3, height - 3 if low else 3),
            "\n".join(lines),
            fill=255,
            font=font,
            anchor=("r" if right else "l") + ("d" if low else "a"),
            align="right" if right else "left",
        )
    if rng.random() < 0.5:
        length, x = round(height * rng.uniform(*_BAR_LENGTH)), round(width * rng.uniform(0.93, 0.98))
        top = (height - length) // 2
        pen.line((x, top, x, top + length), fill=255)
        for step in range(11):
            y = top + step * length // 10
            pen.line((x - (6 if step % 5 == 0 else 3), y, x, y), fill=255)
    ink = torch.from_numpy(np.asarray(layer, dtype=np.float32) / 255)[None] * rng.uniform(0.6, 1.0)
    return torch.maximum(pixels, ink.to(pixels.dtype))


def _word(rng: np.random.Generator) -> str:
    return "".join(rng.choice(_LETTERS, int(rng.integers(3, 18))))
