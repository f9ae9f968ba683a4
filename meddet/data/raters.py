"""Several raters' boxes: which belong to one disc, what they agree on, and what somebody must decide."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from meddet.classes import CLASS_IDS, Level
from meddet.data.raw import RawBox, Reading

_PROTRUSION, _OTHER = CLASS_IDS
_NAMES = {number: name for name, number in CLASS_IDS.items()}
_DECIMALS_PX = 4


@dataclass(frozen=True)
class RaterRules:
    """How readings become one reference.

    `rule` is how many of those who drew a disc must call it a protrusion; `tie` is what an even vote of "majority"
    gives; `min_raters` must have read an image, and have drawn a disc, for it to count.
    """

    rule: Literal["majority", "any", "all"]
    min_raters: int
    match_iou: float
    tie: Literal["protrusion", "non-protrusion", "adjudicate"]


@dataclass(frozen=True)
class Disc:
    """One disc of one image: what each rater drew there. `readers` read the image, `drawn` holds those who drew it."""

    image_id: int
    readers: tuple[str, ...]
    drawn: Mapping[str, RawBox]

    @property
    def level(self) -> Level | None:
        """Give the level that most name; of equals the first."""
        named = Counter(box.level for box in self.drawn.values() if box.level is not None)
        return named.most_common(1)[0][0] if named else None

    @property
    def bbox(self) -> tuple[float, float, float, float]:
        """Give the median of each side as x, y, width, height."""
        x, y, width, height = np.array([box.bbox for box in self.drawn.values()]).T
        left, top, right, bottom = (float(np.median(side)) for side in (x, y, x + width, y + height))
        return left, top, right - left, bottom - top


@dataclass(frozen=True)
class Consensus:
    """The boxes that the readings give, and the images that stay without a reference, with the reason."""

    boxes: tuple[RawBox, ...]
    images: frozenset[int]
    left_out: Mapping[int, str]


def find_discs(readings: Sequence[Reading], images: Collection[int], *, match_iou: float) -> list[Disc]:
    """Put the boxes of these images together that show one disc: by level where given, else by overlap."""
    discs = []
    for image in sorted(images):
        readers = tuple(reading.rater for reading in readings if image in reading.images)
        groups: list[dict[str, RawBox]] = []
        for reading in readings:
            own = [box for box in reading.boxes if box.image_id == image]
            left = [box for box in own if not _join_by_level(groups, reading.rater, box)]
            _join_by_overlap(groups, reading.rater, left, match_iou)
        discs += [Disc(image, readers, group) for group in sorted(groups, key=_height)]
    return discs


def decide(disc: Disc, rules: RaterRules) -> str | None:
    """Give the class of a disc by the rule; None where a tie is to be adjudicated."""
    votes = Counter(box.category_id for box in disc.drawn.values())
    yes, total = votes[CLASS_IDS[_PROTRUSION]], votes.total()
    if rules.rule == "majority" and 2 * yes == total:
        return None if rules.tie == "adjudicate" else rules.tie
    needed = {"any": 1, "all": total, "majority": total // 2 + 1}[rules.rule]
    return _PROTRUSION if yes >= needed else _OTHER


def find_consensus(discs: Iterable[Disc], images: Mapping[int, int], rules: RaterRules, *, first_id: int) -> Consensus:
    """Give the boxes of images that have no reference of their own.

    `images` are those images, with the number of raters who read each. Ids are given from `first_id` on.
    """
    left_out = {
        image: f"read by {readers} of at least {rules.min_raters} raters"
        for image, readers in images.items()
        if readers < rules.min_raters
    }
    chosen = [disc for disc in discs if disc.image_id in images and disc.image_id not in left_out]
    chosen = [disc for disc in chosen if len(disc.drawn) >= rules.min_raters]
    undecided = {disc.image_id for disc in chosen if decide(disc, rules) is None}
    left_out |= dict.fromkeys(sorted(undecided), "a tie to adjudicate")
    numbers = count(first_id)
    boxes = tuple(
        RawBox(
            id=next(numbers),
            image_id=disc.image_id,
            category_id=CLASS_IDS[str(decide(disc, rules))],
            bbox=[round(value, _DECIMALS_PX) for value in disc.bbox],
            level=disc.level,
        )
        for disc in chosen
        if disc.image_id not in undecided
    )
    return Consensus(boxes, frozenset(images.keys() - left_out.keys()), left_out)


def disagreements_table(discs: Iterable[Disc], rules: RaterRules, *, referenced: Collection[int]) -> pd.DataFrame:
    """List the discs that raters call differently or that not all readers drew, each with what became of it."""
    columns = ["image_id", "level", "kind", "votes", "outcome", "x1", "y1", "x2", "y2"]
    rows = []
    for disc in discs:
        classes = {box.category_id for box in disc.drawn.values()}
        kinds = ["class"] * (len(classes) > 1) + ["not drawn by all"] * (len(disc.drawn) < len(disc.readers))
        if kinds:
            said = {rater: _NAMES[box.category_id] for rater, box in disc.drawn.items()}
            votes = "; ".join(f"{rater}: {said.get(rater, 'not drawn')}" for rater in disc.readers)
            x, y, width, height = disc.bbox
            corners = [round(value, _DECIMALS_PX) for value in (x, y, x + width, y + height)]
            outcome = _outcome(disc, rules, referenced)
            rows.append([disc.image_id, disc.level, " and ".join(kinds), votes, outcome, *corners])
    return pd.DataFrame(rows, columns=columns)


def _outcome(disc: Disc, rules: RaterRules, referenced: Collection[int]) -> str:
    if disc.image_id in referenced:
        return "annotations.json decides"
    if len(disc.readers) < rules.min_raters:
        return "image left out"
    if len(disc.drawn) < rules.min_raters:
        return "disc left out"
    return decide(disc, rules) or "to adjudicate, image left out"


def _join_by_level(groups: list[dict[str, RawBox]], rater: str, box: RawBox) -> bool:
    for group in groups:
        if box.level is not None and rater not in group and box.level in {other.level for other in group.values()}:
            group[rater] = box
            return True
    return False


def _join_by_overlap(groups: list[dict[str, RawBox]], rater: str, boxes: list[RawBox], match_iou: float) -> None:
    """Match what overlaps best in sum (Hungarian); boxes of different levels never meet, and the rest is new."""
    open_groups = [group for group in groups if rater not in group]
    table = np.zeros((len(boxes), len(open_groups)))
    for row, box in enumerate(boxes):
        for column, group in enumerate(open_groups):
            levels = {other.level for other in group.values()} - {None}
            if box.level is None or not levels or box.level in levels:
                table[row, column] = float(np.mean([_iou(box, other) for other in group.values()]))
    matched = {
        row: column
        for row, column in zip(*linear_sum_assignment(table, maximize=True), strict=True)
        if table[row, column] >= match_iou
    }
    for row, box in enumerate(boxes):
        if row in matched:
            open_groups[matched[row]][rater] = box
        else:
            groups.append({rater: box})


def _iou(first: RawBox, second: RawBox) -> float:
    (x1, y1, w1, h1), (x2, y2, w2, h2) = first.bbox, second.bbox
    width = max(0.0, min(x1 + w1, x2 + w2) - max(x1, x2))
    height = max(0.0, min(y1 + h1, y2 + h2) - max(y1, y2))
    return width * height / (w1 * h1 + w2 * h2 - width * height)


def _height(group: Mapping[str, RawBox]) -> tuple[float, float]:
    return min(box.bbox[1] for box in group.values()), min(box.bbox[0] for box in group.values())
