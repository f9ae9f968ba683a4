"""Discs and patients as a reader asks about them: by level, given that the disc was found, and end to end.

Given location, a disc counts if a detection of any class overlaps it with IoU >= .5, and its level is the annotated
one: only the class is judged. End to end, only what the model says counts: of the calls on an image at the operating
point those that it named with the level; no such call means not protruded. A call under a wrong name is wrong twice.
A patient's disc is protruded, called, and as probable as on the slice where it is most.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from meddet.classes import CLASSES, LEVELS
from meddet.evaluate.agreement import Units, agreement, at_prevalence, roc
from meddet.evaluate.bootstrap import block, draw_patients, ratio
from meddet.evaluate.calibration import protrusion_shares
from meddet.evaluate.discs import PROTRUSION, Discs, match_discs
from meddet.evaluate.levels import Knots
from meddet.evaluate.operating import is_called
from meddet.evaluate.scored import Scored

ALL = "all"
PREVALENCES = (0.05, 0.2, 0.5)
_NUM = len(LEVELS)


@dataclass(frozen=True)
class _Calls:
    """The calls of all images at the operating point."""

    image: Int[np.ndarray, " C"]
    level: Int[np.ndarray, " C"]
    """Index of the level that the model gave, -1 where it abstained."""
    is_protrusion: Bool[np.ndarray, " C"]
    share: Float[np.ndarray, " C"]


@dataclass(frozen=True)
class Read:
    """A model's answers on the test part."""

    images: Int[np.ndarray, " P"]
    """Number of each patient's images, patients by name."""
    discs: Discs
    """Every annotated disc."""
    given: Units
    """The located discs."""
    given_level: Shaped[np.ndarray, " L"]
    """Annotated, "" if unknown."""
    given_named: Shaped[np.ndarray, " L"]
    """By the model, "" where it abstained."""
    named: Units
    """The annotated discs of known level, end to end."""
    named_level: Shaped[np.ndarray, " K"]
    patient_discs: Units
    """End to end; one row per patient and annotated level."""
    patient_level: Shaped[np.ndarray, " J"]
    patients: Units
    """One row per patient: any protrusion, whatever its name."""


def read_discs(scored: Scored) -> Read:
    """Look up what the model says of every disc and patient."""
    names, image_owner = np.unique(np.asarray(scored.patients, dtype=str), return_inverse=True)
    discs = match_discs(
        scored.detections,
        scored.targets,
        patients=scored.patients,
        levels=scored.levels,
        least_score=scored.score_threshold,
        named=scored.named,
    )
    disc_image = np.repeat(np.arange(len(scored.targets)), [len(target.boxes) for target in scored.targets])
    calls, owner = _calls(scored), image_owner[disc_image]
    calibrated = scored.calibration.disc
    index = _level_index(discs.level)
    known = index >= 0
    key = disc_image * _NUM + index
    called, share = _answers(calls.image * _NUM + calls.level, calls, calls.level >= 0, len(scored.targets) * _NUM)
    named = _units(owner[known], discs.protruded[known], called[key[known]], share[key[known]], calibrated)
    patient_key, row = np.unique(named.owner * _NUM + index[known], return_inverse=True)
    any_called, any_share = _answers(image_owner[calls.image], calls, calls.image >= 0, len(names))
    located = discs.located
    return Read(
        images=np.bincount(image_owner, minlength=len(names)),
        discs=discs,
        given=_units(
            owner[located],
            discs.protruded[located],
            discs.score[located] > scored.thresholds[CLASSES[PROTRUSION]],
            discs.probability[located],
            calibrated,
        ),
        given_level=discs.level[located],
        given_named=discs.named[located],
        named=named,
        named_level=discs.level[known],
        patient_discs=_units(
            patient_key // _NUM,
            _most(named.truth, row, len(patient_key)),
            _most(named.called, row, len(patient_key)),
            _most(named.share, row, len(patient_key)),
            calibrated,
        ),
        patient_level=np.asarray(LEVELS)[patient_key % _NUM],
        patients=_units(
            np.arange(len(names)), _most(discs.protruded, owner, len(names)), any_called, any_share, calibrated
        ),
    )


def _calls(scored: Scored) -> _Calls:
    parts = [(np.empty(0, dtype=int), np.empty(0, dtype=str), np.empty(0, dtype=bool), np.empty(0))]
    for number, (found, names) in enumerate(zip(scored.detections, scored.named, strict=True)):
        keep = is_called(found, scored.thresholds, nms_iou=scored.nms_iou).numpy()
        share = protrusion_shares(found, least_score=scored.score_threshold)[keep]
        label = found.labels.numpy()[keep] == PROTRUSION
        parts.append((np.full(int(keep.sum()), number), np.asarray(names, dtype=str)[keep], label, share))
    image, level, is_protrusion, share = (np.concatenate(part) for part in zip(*parts, strict=True))
    return _Calls(image, _level_index(level), is_protrusion, share)


def _level_index(names: np.ndarray) -> np.ndarray:
    index = np.full(len(names), -1)
    for level, name in enumerate(LEVELS):
        index[names == name] = level
    return index


def _answers(key: np.ndarray, calls: _Calls, counts: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Give, for each key, whether a counted call says protrusion, and the largest share of such calls of any class."""
    called, share = np.zeros(size, dtype=bool), np.zeros(size)
    called[key[counts & calls.is_protrusion]] = True
    np.maximum.at(share, key[counts], calls.share[counts])
    return called, share


def _most(values: np.ndarray, row: np.ndarray, size: int) -> np.ndarray:
    most = np.zeros(size, dtype=values.dtype)
    np.maximum.at(most, row, values)
    return most


def _units(owner: np.ndarray, truth: np.ndarray, called: np.ndarray, share: np.ndarray, calibrated: Knots) -> Units:
    return Units(owner, truth, called, share, np.where(share > 0, calibrated(share), 0.0))


def disc_blocks(read: Read, *, resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Compute the report's `levels`, `patients` and `prevalence`, each number with its interval by patient."""
    draws = draw_patients(len(read.images), resamples=resamples, seed=seed)

    def by_level(units: Units, level: np.ndarray) -> dict[str, Any]:
        parts = {ALL: units, **{name: units.pick(level == name) for name in LEVELS}}
        return {name: unit_block(part, read.images, draws) for name, part in parts.items()}

    known = read.given_level != ""
    naming = read.given.pick(known)
    ones = np.ones((1, len(read.images)))
    whole, resampled = agreement(read.given, ones), agreement(read.given, draws)
    return {
        "levels": {
            "naming": _naming(naming.owner, read.given_level[known], read.given_named[known], read, draws),
            "given_location": by_level(read.given, read.given_level),
            "named": by_level(read.named, read.named_level),
        },
        "patients": {
            "disc": by_level(read.patient_discs, read.patient_level),
            "patient": unit_block(read.patients, read.images, draws),
        },
        "prevalence": {
            f"{share:g}": block(
                at_prevalence(whole, share), at_prevalence(resampled, share), count(read.given, read.images)
            )
            for share in PREVALENCES
        },
    }


def roc_rows(model: str, read: Read) -> list[dict[str, Any]]:
    """List the points of both ROC curves: of located discs, and of patients' discs end to end."""
    curves = {"disc": read.given, "patient_disc": read.patient_discs}
    return [
        {"model": model, "unit": unit, "fpr": float(fpr), "tpr": float(tpr)}
        for unit, units in curves.items()
        for fpr, tpr in roc(units)
    ]


def unit_block(units: Units, images: Int[np.ndarray, " P"], draws: Float[np.ndarray, "B P"]) -> dict[str, Any]:
    """Tell the agreement on some units with intervals; `discs` of n are the units, `protrusions` those that are.

    Args:
        units: to be judged.
        images: number of each patient's images.
        draws: how often each patient occurs in each resample.
    """
    ones = np.ones((1, len(images)))
    return block(agreement(units, ones), agreement(units, draws), count(units, images))


def count(units: Units, images: Int[np.ndarray, " P"]) -> dict[str, int]:
    """Count the patients with such a unit, their images, the units, and those that are protruded."""
    owners = np.unique(units.owner)
    protrusions = int(units.truth.sum())
    return {
        "patients": len(owners),
        "images": int(images[owners].sum()),
        "discs": len(units.owner),
        "protrusions": protrusions,
    }


def _naming(owner: np.ndarray, level: np.ndarray, named: np.ndarray, read: Read, draws: np.ndarray) -> dict[str, Any]:
    answers = {"right": named == level, "wrong": (named != level) & (named != ""), "abstained": named == ""}
    num_patients = len(read.images)

    def shares(weights: np.ndarray) -> dict[str, np.ndarray]:
        total = weights @ np.bincount(owner, minlength=num_patients)
        return {
            name: ratio(weights @ np.bincount(owner, weights=is_so, minlength=num_patients), total)
            for name, is_so in answers.items()
        }

    known = read.given.pick(read.given_level != "")
    return block(shares(np.ones((1, num_patients))), shares(draws), count(known, read.images))
