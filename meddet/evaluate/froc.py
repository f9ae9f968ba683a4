"""FROC: which share of the annotated boxes is found, at so many false positives per study.

A study is a patient: all images of one patient. A detection is right where it matches a box by COCO's rule at IoU .5
(`ap50`); every other one is a false positive. Of the protrusions, and without classes ("any").

Rule of reading: the sensitivity at x false positives per study is the greatest that a score threshold reaches whose
false positives per study don't exceed x. Nothing is interpolated between thresholds; detections of equal scores come
together or not at all; beyond the last detection the curve stays where it is; where even the best score costs more
than x, the sensitivity is 0.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from meddet.classes import CLASSES
from meddet.evaluate.bootstrap import in_chunks, ratio
from meddet.evaluate.coco import AT_50
from meddet.evaluate.discs import PROTRUSION
from meddet.evaluate.precision import first_reached
from meddet.evaluate.ranking import Ranked
from meddet.evaluate.tally import ANY, Tally

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives per study."""
NAMES = (CLASSES[PROTRUSION], ANY)
_CURVE = np.exp2(np.linspace(-4, 4, 201))
"""Where curves are written down: from 1/16 to 16, 25 steps to each doubling, so that all of `RATES` are among them."""


def froc(counted: Tally, weights: Float[np.ndarray, "B P"]) -> dict[str, Float[np.ndarray, " B"]]:
    """Compute `protrusion.<rate>` and `any.<rate>` for each weighting of the patients; NaN where no box has weight."""
    result: dict[str, np.ndarray] = {}
    for name in NAMES:
        values = sensitivities(counted.coco[name], weights, rates=RATES)
        result |= {f"{name}.{rate:g}": values[:, column] for column, rate in enumerate(RATES)}
    return result


def sensitivities(
    ranked: Ranked, weights: Float[np.ndarray, "B P"], *, rates: Sequence[float] | Float[np.ndarray, " R"]
) -> Float[np.ndarray, "B R"]:
    """Read the sensitivity at each rate for each weighting of the patients.

    Args:
        ranked: by patient, at `coco.IOUS`.
        weights: of the patients.
        rates: false positives per study.
    """
    hits = np.flatnonzero(ranked.hits[AT_50])
    last_of_score = np.searchsorted(-ranked.scores, -ranked.scores[hits], side="right") - 1
    is_last = np.diff(last_of_score, append=-1) != 0
    ends = last_of_score[is_last]

    def compute(drawn: np.ndarray) -> np.ndarray:
        found = np.zeros((len(drawn), len(ends) + 1))
        found[:, 1:] = drawn.take(ranked.owner[hits], axis=1).cumsum(axis=1)[:, is_last]
        wrong = drawn.take(ranked.owner, axis=1).cumsum(axis=1).take(ends, axis=1) - found[:, 1:]
        allowed = np.asarray(rates) * drawn.sum(axis=1, keepdims=True)
        reached = np.take_along_axis(found, first_reached(wrong, allowed, beyond=True), axis=1)
        boxes = drawn @ ranked.num_boxes
        return np.stack([ratio(column, boxes) for column in reached.T], axis=1)

    return in_chunks(compute, weights, cells=len(ranked.owner))


def froc_rows(tallies: Mapping[str, Tally]) -> pd.DataFrame:
    """Write each model's curves down, 201 points from 1/16 to 16 false positives per study.

    Returns:
        model, class ("protrusion", "any"), fp_per_study, sensitivity; a curve without a box to be found has no rows.
    """
    parts = [
        pd.DataFrame({"model": model, "class": name, "fp_per_study": _CURVE, "sensitivity": values})
        for model, counted in tallies.items()
        for name in NAMES
        for values in sensitivities(counted.coco[name], np.ones((1, len(counted.patients))), rates=_CURVE)
    ]
    return pd.concat(parts).dropna().reset_index(drop=True)
