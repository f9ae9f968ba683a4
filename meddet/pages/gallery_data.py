"""What the gallery carries: pictures, annotated discs and detections, cut down until they fit.

Floats are written with the fewest digits that read back as the same float32, so that the browser judges the very boxes
and scores that were judged here.
"""

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
from jaxtyping import Float
from markupsafe import Markup

from meddet.classes import CLASSES, LEVELS
from meddet.evaluate.scored import Scored
from meddet.pages.report_values import model_name
from meddet.structures import Detections, Region, Target

Pixels = Float[np.ndarray, "h w"]
_LADDER = ((512, 85), (512, 70), (384, 65), (320, 55), (256, 45), (192, 35))
"""Longest side (px) and JPEG quality of the pictures, the best first."""
_FLOORS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
_SHARE = 0.4
"""Of the room, at most this is for boxes while leaving out more of them may help."""
_TAG_BYTES = 80
_WHITE_PERCENTILE = 99.5
_MARGIN, _ASPECT = 0.1, 0.75


@dataclass(frozen=True)
class Carried:
    """What went into the page: JSON, JPEGs in base64 by image id, and what had to stay outside."""

    content: Markup
    pictures: Mapping[int, str]
    images: int
    """Of the test part, on the page or not."""
    floor: float
    """Detections that score no more are not on the page."""
    longest_side: int
    quality: int


def carried(
    models: Mapping[str, Scored],
    images: Callable[[int], Pixels],
    regions: Mapping[int, Region],
    *,
    first: Sequence[int],
    room: int,
) -> Carried:
    """Choose the best that fits: first fewer low-scoring detections, then coarser pictures, then fewer images.

    Args:
        models: by name, in the order of the page.
        images: gives the pixels of an image.
        regions: by image id.
        first: ids of the images that stay longest; of the others an even sample stays.
        room: bytes.

    Errors:
        ValueError: not even one image fits.
    """
    reference = next(iter(models.values()))
    pixels = {image_id: shown(images(image_id)) for image_id in reference.image_ids}
    rows, floor = _boxes(models, pixels, regions, room=room)
    sizes = {image_id: len(_dumped(row)) + _TAG_BYTES for image_id, row in rows.items()}
    left = room - len(_content(models, [], floor))
    for longest_side, quality in _LADDER:
        pictures = {key: jpeg(grey, longest_side=longest_side, quality=quality) for key, grey in pixels.items()}
        if sum(len(pictures[key]) + sizes[key] for key in rows) <= left:
            kept = list(rows)
            break
    else:
        kept = _that_fit({key: len(pictures[key]) + sizes[key] for key in rows}, first, left)
    if rows and not kept:
        raise ValueError(
            f"the gallery: expected room for one image at least, got {max(room, 0):,} bytes (report.megabytes)"
        )
    content = _content(models, [rows[key] for key in kept], floor)
    return Carried(Markup(content), {key: pictures[key] for key in kept}, len(rows), floor, longest_side, quality)


def shown(pixels: Pixels) -> np.ndarray:
    """Make an image in [0, 1] grey bytes; its 99.5th percentile is white."""
    white = max(float(np.percentile(pixels, _WHITE_PERCENTILE)), 1e-3)
    return np.rint(np.clip(pixels / white, 0, 1) * 255).astype(np.uint8)


def whole(pixels: np.ndarray) -> Region:
    """Give the region that is the whole image."""
    height, width = pixels.shape
    return Region(0.0, 0.0, float(width), float(height))


def jpeg(grey: np.ndarray, *, longest_side: int, quality: int) -> str:
    """Give a JPEG in base64, made smaller where a side is longer."""
    picture = PIL.Image.fromarray(grey)
    picture.thumbnail((longest_side, longest_side))
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=quality, optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def crop(region: Region, target: Target) -> tuple[float, float, float, float]:
    """Frame the region and every annotated disc with a margin, three wide and four high: x, y, width, height in px."""
    boxes = target.boxes.double().numpy()
    x1, y1 = np.min([[region.x1, region.y1], *boxes[:, :2]], axis=0)
    x2, y2 = np.max([[region.x2, region.y2], *boxes[:, 2:]], axis=0)
    height = max((y2 - y1) * (1 + 2 * _MARGIN), (x2 - x1) * (1 + 2 * _MARGIN) / _ASPECT)
    width = height * _ASPECT
    left, top = (x1 + x2 - width) / 2, (y1 + y2 - height) / 2
    return round(float(left), 1), round(float(top), 1), round(float(width), 1), round(float(height), 1)


def _boxes(
    models: Mapping[str, Scored], pixels: Mapping[int, np.ndarray], regions: Mapping[int, Region], *, room: int
) -> tuple[dict[int, dict[str, Any]], float]:
    """Write the images' rows with as many detections as have room, but with all that any operating point calls."""
    highest = min(threshold for scored in models.values() for threshold in scored.thresholds.values())
    lowest = min(scored.score_threshold for scored in models.values())
    for floor in (lowest, *(each for each in _FLOORS if lowest < each < highest)):
        rows = _rows(models, pixels, regions, floor=floor)
        if sum(len(_dumped(row)) for row in rows.values()) <= _SHARE * room:
            break
    return rows, floor


def _rows(
    models: Mapping[str, Scored], pixels: Mapping[int, np.ndarray], regions: Mapping[int, Region], *, floor: float
) -> dict[int, dict[str, Any]]:
    reference = next(iter(models.values()))
    rows = {}
    for index, image_id in enumerate(reference.image_ids):
        target, (height, width) = reference.targets[index], pixels[image_id].shape
        region = regions.get(image_id, whole(pixels[image_id]))
        rows[image_id] = {
            "id": image_id,
            "patient": reference.patients[index],
            "about": [str(value) for _, value in sorted(reference.groups[index].items())],
            "size": [width, height],
            "crop": crop(region, target),
            "region": [region.x1, region.y1, region.width, region.height],
            "truth": {**_numbers(target), "levels": _level_digits(reference.levels[index])},
            "found": [_found(each.detections[index], each.named[index], floor=floor) for each in models.values()],
        }
    return rows


def _found(detections: Detections, named: Sequence[str], *, floor: float) -> dict[str, Any]:
    keep = (detections.scores.double() > floor).numpy()
    part = Detections(detections.boxes[keep], detections.scores[keep], detections.labels[keep])
    names = [name for name, is_kept in zip(named, keep, strict=True) if is_kept]
    return {**_numbers(part), "scores": _shortest(part.scores.numpy()), "levels": _level_digits(names)}


def _numbers(boxed: Target | Detections) -> dict[str, Any]:
    labels = "".join(str(label) for label in boxed.labels.tolist())
    return {"boxes": _shortest(boxed.boxes.numpy().ravel()), "labels": labels}


def _shortest(values: Float[np.ndarray, " N"]) -> list[float | int]:
    numbers = [float(text) for text in values.astype(np.float32).astype(str)]
    return [int(each) if each.is_integer() else each for each in numbers]


def _level_digits(levels: Sequence[str]) -> str:
    """Write a level as the digit of its place, from the top; "-" where it isn't known."""
    return "".join(str(LEVELS.index(level)) if level in LEVELS else "-" for level in levels)


def _that_fit(sizes: Mapping[int, int], first: Sequence[int], room: int) -> list[int]:
    """Keep as many images as fit: those of `first`, then an even sample of the others."""
    others = [image_id for image_id in sizes if image_id not in set(first)]
    for number in range(len(sizes), 0, -1):
        sample = np.linspace(0, len(others) - 1, max(number - len(first), 0)).round().astype(int)
        kept = {*first[:number], *(others[place] for place in sample.tolist())}
        if sum(sizes[image_id] for image_id in kept) <= room:
            return [image_id for image_id in sizes if image_id in kept]
    return []


def _content(models: Mapping[str, Scored], rows: Sequence[Mapping[str, Any]], floor: float) -> str:
    about = [
        {
            "name": name,
            "shown": model_name(name),
            "thresholds": [scored.thresholds[label] for label in CLASSES],
            "nms": scored.nms_iou,
        }
        for name, scored in models.items()
    ]
    return _dumped({"models": about, "levels": LEVELS, "floor": floor, "images": rows})


def _dumped(value: object) -> str:
    """Write JSON that no HTML parser sees markup in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
