"""The gallery's pictures that stand still: the worst images of the student, and the paper's figure 6."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from meddet.classes import CLASSES
from meddet.evaluate.errors import (
    CLASS_FLIP,
    DUPLICATE,
    ERRORS,
    FOUND,
    LOCALISATION,
    MISSED,
    OTHER,
    RIGHT,
    SYNCHONDROSIS,
    THORACIC,
    ImageErrors,
)
from meddet.evaluate.scored import Scored
from meddet.pages.gallery_data import crop, jpeg, shown, whole
from meddet.pages.report_values import STUDENT, model_name
from meddet.structures import Detections, Region, Target

PLAIN = "baseline"
WORST = 20
SHOWN_KINDS = {
    MISSED: "missed",
    CLASS_FLIP: "wrong class",
    DUPLICATE: "duplicate",
    LOCALISATION: "badly placed",
    SYNCHONDROSIS: "C2 synchondrosis",
    THORACIC: "thoracic disc",
    OTHER: "elsewhere",
}
"""The names of `ERRORS` for people."""
_WORDS = dict(zip(ERRORS[1:], ("class", "double", "place", "C2", "thoracic", "none"), strict=True))


@dataclass(frozen=True)
class Mark:
    """A box: x, y, width and height in the image's px, its CSS class, and a word where it is a wrong call."""

    place: tuple[float, float, float, float]
    kind: str
    word: str = ""


@dataclass(frozen=True)
class Cut:
    """A part of an image: viewBox, where the JPEG (base64) and the region lie, size of letters; px of the image."""

    view: tuple[float, float, float, float]
    place: tuple[int, int, int, int]
    region: tuple[float, float, float, float]
    jpeg: str
    letters: float


@dataclass(frozen=True)
class Drawn:
    """A panel: whose boxes they are, and what is said of them."""

    title: str
    said: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Row:
    """One image of the figure: why it was chosen, the picture, and a panel of the truth and of each model."""

    image_id: int
    reason: str
    cut: Cut
    panels: tuple[Drawn, ...]


def count_wrong(verdict: ImageErrors) -> int:
    """Count the errors of an image: missed discs and wrong calls."""
    return verdict.box_kinds.count(MISSED) + sum(kind != RIGHT for kind in verdict.call_kinds)


def tell_wrong(verdict: ImageErrors) -> str:
    """Say what is wrong on an image: "2 wrong class, 1 missed"; the most frequent first."""
    kinds = [*(kind for kind in verdict.call_kinds if kind != RIGHT), *(k for k in verdict.box_kinds if k == MISSED)]
    counts = sorted(((kinds.count(kind), kind) for kind in ERRORS if kind in kinds), key=lambda each: -each[0])
    return ", ".join(f"{count} {SHOWN_KINDS[kind]}" for count, kind in counts) or "no error"


def worst_images(verdicts: Sequence[ImageErrors], *, most: int = WORST) -> list[ImageErrors]:
    """List the images with errors, those with most of them first, then by image id."""
    wrong = [verdict for verdict in verdicts if count_wrong(verdict)]
    return sorted(wrong, key=lambda verdict: (-count_wrong(verdict), verdict.image_id))[:most]


def chosen_images(student: Sequence[ImageErrors], plain: Sequence[ImageErrors] | None) -> list[tuple[int, str]]:
    """Choose the images of figure 6 by rule: row of each and why. Nobody looked at them before.

    Images are ranked by the student's errors (of those with as many: more discs first, then by image id): the first,
    the middle one and the last; and of the others the one where the errors of student and plain student differ most.
    """
    number = len(student)
    if not number:
        return []
    errors = [count_wrong(verdict) for verdict in student]
    discs = [len(verdict.box_kinds) for verdict in student]
    order = sorted(range(number), key=lambda row: (errors[row], -discs[row], student[row].image_id))
    reasons = ((0, "best"), ((number - 1) // 2, "median"), (number - 1, "worst"))
    rows = {order[rank]: reason for rank, reason in reversed(reasons)}
    chosen = [(order[rank], reason) for rank, reason in reasons if rows[order[rank]] == reason]
    if plain is not None:
        apart = {row: abs(errors[row] - count_wrong(plain[row])) for row in range(number) if row not in rows}
        if apart and max(apart.values()):
            chosen.append((max(apart, key=lambda row: apart[row]), "student and plain student differ most"))
    return chosen


def figure_six(
    models: Mapping[str, Scored],
    verdicts: Mapping[str, Sequence[ImageErrors]],
    images: Callable[[int], Float[np.ndarray, "h w"]],
    regions: Mapping[int, Region],
    *,
    longest_side: int,
) -> list[Row]:
    """Draw the truth and each model on the chosen images, at each model's operating point."""
    reference = models[STUDENT]
    rows = []
    for index, reason in chosen_images(verdicts[STUDENT], verdicts.get(PLAIN)):
        target, image_id = reference.targets[index], reference.image_ids[index]
        marks = tuple(Mark(place, _class(label)) for place, label in _places(target))
        truth = Drawn("Ground truth", f"{len(marks)} discs", marks)
        panels = [drawn(model_name(name), each[index], target) for name, each in verdicts.items()]
        cut = cut_out(images(image_id), regions.get(image_id), target, longest_side=longest_side)
        rows.append(Row(image_id, reason, cut, (truth, *panels)))
    return rows


def drawn(title: str, verdict: ImageErrors, target: Target) -> Drawn:
    """Draw one model's calls, with a word at each wrong one, and the discs that it missed."""
    calls = zip(_places(verdict.calls), verdict.call_kinds, strict=True)
    marks = [Mark(place, _class(label), _WORDS.get(kind, "")) for (place, label), kind in calls]
    discs = zip(_places(target), verdict.box_kinds, strict=True)
    marks += [Mark(place, MISSED) for (place, _), kind in discs if kind == MISSED]
    found = verdict.box_kinds.count(FOUND)
    return Drawn(title, f"{found} of {len(verdict.box_kinds)} right; {tell_wrong(verdict)}", tuple(marks))


def cut_out(pixels: Float[np.ndarray, "h w"], region: Region | None, target: Target, *, longest_side: int) -> Cut:
    """Cut the region with its margin out of an image."""
    height, width = pixels.shape
    region = region or whole(pixels)
    view, looked = crop(region, target), (region.x1, region.y1, region.width, region.height)
    left, top = max(int(view[0]), 0), max(int(view[1]), 0)
    right, bottom = min(int(np.ceil(view[0] + view[2])), width), min(int(np.ceil(view[1] + view[3])), height)
    part = shown(pixels)[top:bottom, left:right]
    place = (left, top, right - left, bottom - top)
    return Cut(view, place, looked, jpeg(part, longest_side=longest_side, quality=80), view[3] / 26)


def _places(boxed: Target | Detections) -> Iterator[tuple[tuple[float, float, float, float], int]]:
    for (x1, y1, x2, y2), label in zip(boxed.boxes.tolist(), boxed.labels.tolist(), strict=True):
        yield (round(x1, 1), round(y1, 1), round(x2 - x1, 1), round(y2 - y1, 1)), label


def _class(label: int) -> str:
    return CLASSES[label]
