"""How far a model's probabilities, and its promise on missed protrusions, hold on the test part.

LaECE0 (Kuzucu et al., ECCV 2024, arXiv:2405.20459) is the localisation-aware calibration error at tau = 0: over 25
equal bins of the score, of the detections above the class's operating point, the mean difference of score and IoU with
the disc that was found (0 where none was), weighted by the bin's share; then the mean of the classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from meddet.classes import CLASSES
from meddet.evaluate.bootstrap import block, draw_patients, ratio
from meddet.evaluate.by_disc import Read, count
from meddet.evaluate.calibration import matched_iou
from meddet.evaluate.conformal import HOLDS_IF, mean_loss
from meddet.evaluate.discs import PROTRUSION
from meddet.evaluate.ranking import by_voc, rank
from meddet.evaluate.scored import Scored

_BINS, _DISC_BINS = 25, 10


@dataclass(frozen=True)
class _Told:
    """What was foretold and what came: one row per detection or disc."""

    owner: Int[np.ndarray, " N"]
    predicted: Float[np.ndarray, " N"]
    observed: Float[np.ndarray, " N"]


def calibration_block(scored: Scored, read: Read, *, resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Compute LaECE0 of the detections and the Brier score of the located discs' shares, raw and calibrated."""
    detections, discs = _detections(scored), _discs(read)

    def numbers(weights: np.ndarray) -> dict[str, np.ndarray]:
        laece = {
            f"laece0_{kind}": _mean_of_defined(np.stack([_binned_error(told, weights) for told in by_class]))
            for kind, by_class in detections.items()
        }
        return laece | {f"brier_{kind}": _mean_square(told, weights) for kind, told in discs.items()}

    return block(
        numbers(np.ones((1, len(read.images)))),
        numbers(draw_patients(len(read.images), resamples=resamples, seed=seed)),
        count(read.given, read.images),
    )


def reliability_rows(model: str, scored: Scored, read: Read) -> list[dict[str, Any]]:
    """List the bins of the reliability diagram: mean prediction and mean outcome; empty bins are left out."""
    tables = [("disc", kind, _DISC_BINS, told) for kind, told in _discs(read).items()]
    for kind, by_class in _detections(scored).items():
        parts = ((each.owner, each.predicted, each.observed) for each in by_class)
        pooled = _Told(*(np.concatenate(part) for part in zip(*parts, strict=True)))
        tables.append(("detection", kind, _BINS, pooled))
    return [
        {"model": model, "kind": f"{unit} {kind}", **row}
        for unit, kind, bins, told in tables
        for row in _bins(told, bins)
    ]


def conformal_block(scored: Scored, read: Read, *, resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Tell the promise, and on the test part what it misses and what it costs.

    - `miss_rate`: mean, over patients with a protrusion, of the share of theirs without a protrusion box above the
      threshold (IoU >= .5); to be compared with alpha.
    - `false_positives_per_image`: protrusion boxes above the threshold that found no protrusion.

    Both are undefined where no threshold holds the promise.
    """
    promise, ones = scored.conformal, np.ones((1, len(read.images)))
    draws = draw_patients(len(read.images), resamples=resamples, seed=seed)
    told = {
        "alpha": promise.alpha,
        "threshold": promise.threshold,
        "validation_patients": promise.patients,
        "bound_holds_if": HOLDS_IF,
        "reason": promise.reason,
    }
    undefined = np.full(1, np.nan)
    values = draws_of = {"miss_rate": undefined, "false_positives_per_image": undefined}
    if promise.threshold is not None:
        values, draws_of = (_kept(scored, read, promise.threshold, weights) for weights in (ones, draws))
    return told | block(values, draws_of, count(read.given, read.images))


def _kept(scored: Scored, read: Read, threshold: float, weights: np.ndarray) -> dict[str, np.ndarray]:
    owner, discs = _owner(scored), read.discs
    protrusions = discs.protruded
    disc_owner = np.repeat(owner, [len(target.boxes) for target in scored.targets])[protrusions]
    ranked = rank(scored.detections, scored.targets, label=PROTRUSION, ious=[0.5], rule=by_voc)
    wrong = ranked.owner[(ranked.scores > threshold) & ~ranked.hits[0]]
    return {
        "miss_rate": mean_loss(discs.score[protrusions] <= threshold, disc_owner, weights),
        "false_positives_per_image": ratio(
            weights @ np.bincount(owner[wrong], minlength=weights.shape[1]), weights @ read.images.astype(float)
        ),
    }


def _owner(scored: Scored) -> np.ndarray:
    return np.unique(np.asarray(scored.patients, dtype=str), return_inverse=True)[1]


def _detections(scored: Scored) -> dict[str, list[_Told]]:
    """Give the detections above the operating point, class by class, raw and calibrated."""
    told: dict[str, list[_Told]] = {"raw": [], "calibrated": []}
    for label, name in enumerate(CLASSES):
        image, scores, iou = matched_iou(scored.detections, scored.targets, label=label)
        counts = scores > scored.thresholds[name]
        owner = _owner(scored)[image[counts]]
        told["raw"].append(_Told(owner, scores[counts], iou[counts]))
        told["calibrated"].append(_Told(owner, scored.calibration.detection[name](scores[counts]), iou[counts]))
    return told


def _discs(read: Read) -> dict[str, _Told]:
    truth = read.given.truth.astype(float)
    predicted = {"raw": read.given.share, "calibrated": read.given.probability}
    return {kind: _Told(read.given.owner, each, truth) for kind, each in predicted.items()}


def _binned_error(told: _Told, weights: np.ndarray) -> np.ndarray:
    place = told.owner * _BINS + _bin(told.predicted, _BINS)
    gap = np.bincount(place, weights=told.predicted - told.observed, minlength=weights.shape[1] * _BINS)
    total = weights @ np.bincount(told.owner, minlength=weights.shape[1])
    return ratio(np.abs(weights @ gap.reshape(-1, _BINS)).sum(axis=1), total)


def _mean_square(told: _Told, weights: np.ndarray) -> np.ndarray:
    squares = (told.predicted - told.observed) ** 2
    above = weights @ np.bincount(told.owner, weights=squares, minlength=weights.shape[1])
    return ratio(above, weights @ np.bincount(told.owner, minlength=weights.shape[1]))


def _bins(told: _Told, number: int) -> Iterator[dict[str, float]]:
    place = _bin(told.predicted, number)
    for each in np.unique(place).tolist():
        here = place == each
        yield {
            "low": each / number,
            "high": (each + 1) / number,
            "n": int(here.sum()),
            "predicted": float(told.predicted[here].mean()),
            "observed": float(told.observed[here].mean()),
        }


def _bin(values: np.ndarray, number: int) -> np.ndarray:
    return np.minimum((values * number).astype(int), number - 1)


def _mean_of_defined(values: np.ndarray) -> np.ndarray:
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=0), defined.sum(axis=0).astype(float))
