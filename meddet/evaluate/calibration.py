"""What a score is worth: isotonic regressions on validation, frozen as knots.

Three scores are read so: a class's score as the IoU to expect (Kuzucu et al., ECCV 2024, arXiv:2405.20459, whose
targets are IoUs, not hits), the best score at a place as the probability that a disc is there, and a located disc's
share of the protrusion score as the probability of a protrusion.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torchvision.ops import box_iou

from meddet.classes import CLASSES
from meddet.evaluate.discs import PROTRUSION, Discs
from meddet.evaluate.levels import Knots, places
from meddet.evaluate.matching import iou_matrix
from meddet.structures import Detections, Target

_LEAST_IOU = 0.5
_SAME_DISC = 0.5
_DIGITS = 6


IDENTITY = Knots((0.0, 1.0), (0.0, 1.0))
"""Reads a score as itself: where validation had nothing to fit on."""


@dataclass(frozen=True)
class Calibration:
    """How a model's scores are read."""

    detection: dict[str, Knots]
    """By class: score to expected IoU with a disc of this class, 0 where there is none."""
    place: Knots
    """Best score at a place to the probability of a disc there (IoU >= .5)."""
    disc: Knots
    """Protrusion share of a located disc to the probability of a protrusion."""


UNCALIBRATED = Calibration(dict.fromkeys(CLASSES, IDENTITY), IDENTITY, IDENTITY)
"""Reads every score as itself."""


def fit_calibration(detections: Sequence[Detections], targets: Sequence[Target], discs: Discs) -> Calibration:
    """Fit all regressions on validation.

    Args:
        detections: one per image, every one that was kept.
        targets: of the same images.
        discs: of the same images (`match_discs`).
    """
    by_class = {}
    for label, name in enumerate(CLASSES):
        _, scores, iou = matched_iou(detections, targets, label=label)
        by_class[name] = fit_knots(scores, iou)
    at_places = [
        (np.empty(0), np.empty(0)),
        *(_of_places(found, target) for found, target in zip(detections, targets, strict=True)),
    ]
    score, is_disc = (np.concatenate(parts) for parts in zip(*at_places, strict=True))
    share, protruded = discs.probability[discs.located], discs.protruded[discs.located]
    return Calibration(by_class, fit_knots(score, is_disc), fit_knots(share, protruded.astype(float)))


def fit_knots(scores: Float[np.ndarray, " N"], values: Float[np.ndarray, " N"]) -> Knots:
    """Fit the rising function of least squares, without certainties.

    One more observation of 0 at the highest score, and of 1 at the lowest, keep every value off 0 and 1: the n best of
    a small validation part being right gives n / (n + 1), not 1. Without observations: `IDENTITY`.
    """
    if len(scores) == 0:
        return IDENTITY
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression().fit(
        np.concatenate([scores, [scores.max(), scores.min()]]), np.concatenate([values, [0.0, 1.0]])
    )
    at, value = (np.round(each.astype(float), _DIGITS) for each in (fitted.X_thresholds_, fitted.y_thresholds_))
    return Knots(tuple(at.tolist()), tuple(value.tolist()))


def matched_iou(
    detections: Sequence[Detections], targets: Sequence[Target], *, label: int
) -> tuple[Int[np.ndarray, " N"], Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Give the image and score of each detection of a class, and its IoU with the disc that it found, else 0.

    By falling score, each takes the disc of its class that it overlaps most of those that are left (any IoU above 0:
    the tau = 0 of LaECE0).
    """
    rows = [_matched(found, target, label) for found, target in zip(detections, targets, strict=True)]
    scores, iou = zip((np.empty(0), np.empty(0)), *rows, strict=True)
    image = np.repeat(np.arange(len(rows)), [len(each) for each, _ in rows])
    return image, np.concatenate(scores), np.concatenate(iou)


def _matched(found: Detections, target: Target, label: int) -> tuple[np.ndarray, np.ndarray]:
    ours = found.labels.numpy() == label
    scores = found.scores.double().numpy()[ours]
    overlap = iou_matrix(found, target)[ours][:, target.labels.numpy() == label]
    best = np.zeros(len(scores))
    if overlap.size:
        for row in np.argsort(-scores, kind="stable"):
            column = int(overlap[row].argmax())
            best[row] = overlap[row, column]
            if best[row] > 0:
                overlap[:, column] = 0
    return scores, best


def protrusion_shares(detections: Detections, *, least_score: float) -> Float[np.ndarray, " N"]:
    """Give, for each box, the share of the protrusion score in the best scores of both classes there (IoU >= .5).

    As `match_discs` has it for annotated discs, with the box in the disc's place.
    """
    boxes, scores = detections.boxes.double(), detections.scores.double().numpy()
    there = np.where(box_iou(boxes, boxes).numpy() >= _SAME_DISC, scores[:, None], 0.0)
    is_protrusion = detections.labels.numpy() == PROTRUSION
    protrusion = there[is_protrusion].max(axis=0, initial=least_score / 2)
    other = there[~is_protrusion].max(axis=0, initial=least_score / 2)
    return np.asarray(protrusion / (protrusion + other))


def _of_places(found: Detections, target: Target) -> tuple[np.ndarray, np.ndarray]:
    kept = places(found)
    overlap = box_iou(found.boxes[kept].double(), target.boxes.double()).numpy()
    is_disc = overlap.max(axis=1, initial=0.0) >= _LEAST_IOU
    return found.scores[kept].double().numpy(), is_disc.astype(float)
