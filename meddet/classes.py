"""The names of what is detected. Free of torch, so that the data stages start fast."""

from typing import Literal, get_args

Level = Literal["C2/3", "C3/4", "C4/5", "C5/6", "C6/7", "C7/T1"]

CLASSES = ("protrusion", "non-protrusion")
CLASS_IDS = {name: number for number, name in enumerate(CLASSES, start=1)}
"""The category ids of our own COCO files; in anybody else's only the name means something."""
LEVELS: tuple[str, ...] = get_args(Level)
