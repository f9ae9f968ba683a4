"""Which discs are called protruded, given that they were found: the class apart from the place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from meddet.classes import LEVELS
from meddet.evaluate.bootstrap import draw_patients, interval, ratio, resampled_auc
from meddet.evaluate.matching import iou_matrix, number
from meddet.structures import Detections, Target

PROTRUSION = 0
_LEAST_IOU = 0.5


@dataclass(frozen=True)
class Discs:
    """One row per annotated disc of all images."""

    patient: Shaped[np.ndarray, " N"]
    level: Shaped[np.ndarray, " N"]
    """Name of the level, "" where it isn't known."""
    protruded: Bool[np.ndarray, " N"]
    located: Bool[np.ndarray, " N"]
    """Whether a detection of any class overlaps the disc with IoU >= .5."""
    score: Float[np.ndarray, " N"]
    """Score of the best protrusion detection there, 0 if there is none."""
    probability: Float[np.ndarray, " N"]
    """Share of the protrusion score in the scores of both classes at this disc; NaN where not located."""
    named: Shaped[np.ndarray, " N"]
    """Level that the best detection there has by the model, "" where there is none or the model abstained."""


def disc_levels(target: Target, levels: Sequence[str | None]) -> list[str]:
    """Name each disc's level: as annotated, else by order from the top if the image has exactly six, else ""."""
    if len(target.boxes) == len(LEVELS) and not any(levels):
        centres = (target.boxes[:, 1] + target.boxes[:, 3]).numpy()
        return [LEVELS[rank] for rank in np.argsort(np.argsort(centres, kind="stable"), kind="stable")]
    return [level or "" for level in levels]


def level_rates(levels: Sequence[str], protruded: Sequence[bool]) -> dict[str, float]:
    """Compute the protruded share of the discs of each level, and of all discs under the name ""."""
    name, is_protruded = np.asarray(levels, dtype=str), np.asarray(protruded, dtype=float)
    rates = {level: float(is_protruded[name == level].mean()) for level in LEVELS if np.any(name == level)}
    return {**rates, "": float(is_protruded.mean()) if len(is_protruded) else float("nan")}


def match_discs(
    detections: Sequence[Detections],
    targets: Sequence[Target],
    *,
    patients: Sequence[str],
    levels: Sequence[Sequence[str]],
    least_score: float,
    named: Sequence[Sequence[str]] | None = None,
) -> Discs:
    """Look up at each annotated disc what the best detection of each class scored there (IoU >= .5).

    A class without a detection there scored at most `least_score`, and counts as half of that.

    Args:
        detections: one per image; labels 0 (protrusion) and 1.
        targets: of the same images, as are `patients` and `levels`.
        patients: patient id of each image.
        levels: level of each disc of each image, "" if unknown.
        least_score: score below which detections were dropped.
        named: level of each detection by the model; None: it named nothing.
    """
    names = [("",) * len(found.boxes) for found in detections] if named is None else named
    rows = [_of_image(*each, least_score=least_score) for each in zip(detections, targets, names, strict=True)]
    sizes = [len(target.boxes) for target in targets]
    return Discs(
        patient=np.repeat(np.asarray(patients, dtype=str), sizes),
        level=np.asarray([level for image in levels for level in image], dtype=str),
        protruded=np.concatenate([np.empty(0, dtype=bool), *(t.labels.numpy() == PROTRUSION for t in targets)]),
        located=np.concatenate([np.empty(0, dtype=bool), *(row[0] for row in rows)]),
        score=np.concatenate([np.empty(0), *(row[1] for row in rows)]),
        probability=np.concatenate([np.empty(0), *(row[2] for row in rows)]),
        named=np.concatenate([np.empty(0, dtype=str), *(row[3] for row in rows)]),
    )


def _of_image(
    detections: Detections, target: Target, names: Sequence[str], *, least_score: float
) -> tuple[np.ndarray, ...]:
    there = iou_matrix(detections, target) >= _LEAST_IOU
    scores = np.where(there, detections.scores.double().numpy()[:, None], 0)
    is_protrusion = detections.labels.numpy() == PROTRUSION
    floor = least_score / 2
    score = scores[is_protrusion].max(axis=0, initial=0.0)
    protrusion, other = np.maximum(score, floor), scores[~is_protrusion].max(axis=0, initial=floor)
    located = np.asarray(there.any(axis=0))
    best = np.append(np.asarray(names, dtype=str), "")[np.where(located, _first_argmax(scores), len(names))]
    return located, score, np.where(located, protrusion / (protrusion + other), np.nan), best


def _first_argmax(scores: np.ndarray) -> np.ndarray:
    return scores.argmax(axis=0) if len(scores) else np.zeros(scores.shape[1], dtype=int)


def auc(scores: Float[np.ndarray, " N"], positive: Bool[np.ndarray, " N"]) -> float:
    """Compute the area under the ROC curve: the chance that a positive scores above a negative, a tie counting half.

    NaN where one kind is absent.
    """
    everyone = np.zeros(len(scores), dtype=int)
    return float(resampled_auc(scores, positive, everyone, np.ones((1, 1)))[0])


def disc_numbers(
    discs: Discs, *, rates: dict[str, float], threshold: float, resamples: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Compute how many discs are found, and how well the found ones are told apart.

    - `located`: share of annotated discs with a detection of any class at IoU >= .5.
    - `auc`: of the protrusion share, over located discs; `auc_level_prior`: of each disc's level alone (its rate in the
      training part), over the same discs; `auc_gain`: their difference.
    - `sensitivity`, `specificity` and their mean `balanced_accuracy`: of located discs, where a disc is called a
      protrusion if its protrusion score exceeds the operating point.
    - `..._ci95`: 2.5th and 97.5th percentile over resamples of the patients, all their images together.

    Args:
        discs: of the test images.
        rates: by level, from the training part (`level_rates`).
        threshold: operating point of the protrusion score, chosen on validation.
        resamples: of the patients.
        seed: of the resampling.
    """
    found = discs.located
    truth, share = discs.protruded[found], discs.probability[found]
    prior = np.asarray([rates.get(level, rates[""]) for level in discs.level[found]], dtype=float)
    _, patient = np.unique(discs.patient, return_inverse=True)
    draws = draw_patients(int(patient.max(initial=-1)) + 1, resamples=resamples, seed=seed)
    located_draws = ratio(draws @ np.bincount(patient[found], minlength=draws.shape[1]), draws @ np.bincount(patient))
    model_draws = resampled_auc(share, truth, patient[found], draws)
    prior_draws = resampled_auc(prior, truth, patient[found], draws)
    called = discs.score[found] > threshold
    sensitivity = called[truth].mean() if truth.any() else np.nan
    specificity = (~called[~truth]).mean() if (~truth).any() else np.nan
    model, by_level = auc(share, truth), auc(prior, truth)
    return {
        "n": len(discs.located),
        "n_located": int(found.sum()),
        "n_located_protrusion": int(truth.sum()),
        "located": number(float(found.mean()) if len(found) else np.nan),
        "located_ci95": interval(located_draws),
        "auc": number(model),
        "auc_ci95": interval(model_draws),
        "auc_level_prior": number(by_level),
        "auc_level_prior_ci95": interval(prior_draws),
        "auc_gain": number(model - by_level),
        "auc_gain_ci95": interval(model_draws - prior_draws),
        "balanced_accuracy": number((sensitivity + specificity) / 2),
        "sensitivity": number(sensitivity),
        "specificity": number(specificity),
    }
