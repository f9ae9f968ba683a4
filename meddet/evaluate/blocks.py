"""The blocks of the report that are told of every model: detection, FROC and errors, each number with its interval.

A block is {"metrics", "ci95", "n"}. Intervals are of the same resamples of the patients for every block and model.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from meddet.classes import CLASSES
from meddet.evaluate.bootstrap import block, draw_patients, ratio
from meddet.evaluate.coco import AT_50
from meddet.evaluate.discs import PROTRUSION
from meddet.evaluate.errors import ERRORS, ImageErrors, count_kinds
from meddet.evaluate.froc import froc
from meddet.evaluate.precision import RECALLS, precision_at_recalls
from meddet.evaluate.tally import ANY, Tally

Weights = Float[np.ndarray, "B P"]


def detection_block(counted: Tally, *, resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Tell `Tally.detection`: ap10, ap50, ap75, ap50_95, ar100, ap50_voc, recall50, each of four kinds."""
    return _block(counted, counted.detection, resamples=resamples, seed=seed)


def froc_block(counted: Tally, *, resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Tell the sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per study: `protrusion.1`, `any.0.125`."""
    return _block(counted, lambda weights: froc(counted, weights), resamples=resamples, seed=seed)


def error_block(
    counted: Tally, verdicts: Sequence[ImageErrors], *, resamples: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Tell how often each error is made per image at the operating point, and the plain totals as `counts`.

    Args:
        counted: of the model.
        verdicts: `error_verdicts` of the same model.
        resamples: of the patients.
        seed: of the draws.

    Returns:
        a block of "missed", "class_flip", "duplicate", "localisation", "background.c2_synchondrosis",
        "background.thoracic" and "background.other"; `counts` has these, and "right", "calls" and "boxes".
    """
    counts = count_kinds(verdicts, counted.patients)

    def per_image(weights: Weights) -> dict[str, np.ndarray]:
        return {kind: ratio(weights @ counts[kind], weights @ counted.images) for kind in ERRORS}

    totals = {kind: int(each.sum()) for kind, each in counts.items()}
    return {**_block(counted, per_image, resamples=resamples, seed=seed), "counts": totals}


def tested(counted: Tally) -> dict[str, int]:
    """Say what the numbers rest on."""
    return {
        "patients": len(counted.patients),
        "images": int(counted.images.sum()),
        "discs": int(counted.coco[ANY].num_boxes.sum()),
        "protrusions": int(counted.coco[CLASSES[PROTRUSION]].num_boxes.sum()),
    }


def pr_rows(tallies: Mapping[str, Tally]) -> pd.DataFrame:
    """Write down the precision at COCO's 101 recalls at IoU .5; the mean of a curve is its `ap50`.

    Returns:
        model, class ("protrusion", "non-protrusion", "any"), recall, precision; a curve without a box to be found has
        no rows.
    """
    parts = [
        pd.DataFrame({"model": model, "class": name, "recall": RECALLS, "precision": precision[0, 0]})
        for model, counted in tallies.items()
        for name, ranked in counted.coco.items()
        for precision in [precision_at_recalls(ranked, _ones(counted), overlaps=[AT_50])]
    ]
    return pd.concat(parts).dropna().reset_index(drop=True)


def _ones(counted: Tally) -> np.ndarray:
    return np.ones((1, len(counted.patients)))


def _block(
    counted: Tally, compute: Callable[[Weights], dict[str, np.ndarray]], *, resamples: int, seed: int
) -> dict[str, Any]:
    draws = draw_patients(len(counted.patients), resamples=resamples, seed=seed)
    return block(compute(_ones(counted)), compute(draws), tested(counted))
