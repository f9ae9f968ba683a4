"""How a model's detections are read: all that validation decides, and where discs lie. One function fits it for all."""

from collections.abc import Sequence
from dataclasses import dataclass

from meddet.data.coco import Sample
from meddet.evaluate.calibration import Calibration, fit_calibration
from meddet.evaluate.conformal import Conformal, fit_conformal
from meddet.evaluate.discs import disc_levels, match_discs
from meddet.evaluate.levels import LevelPrior, fit_levels, name_detections
from meddet.evaluate.operating import choose_operating_points
from meddet.evaluate.pr import OperatingPoint
from meddet.structures import Detections, Region


@dataclass(frozen=True)
class Reading:
    """What turns scored boxes into calls, probabilities and named discs."""

    operating: dict[str, OperatingPoint]
    """By class."""
    calibration: Calibration
    conformal: Conformal
    levels: LevelPrior | None
    """None where too few training images have all levels: nothing is named then."""

    @property
    def thresholds(self) -> dict[str, float]:
        """Score that a box must exceed, by class."""
        return {name: point.threshold for name, point in self.operating.items()}

    def name(self, detections: Sequence[Detections], regions: Sequence[Region]) -> list[tuple[str, ...]]:
        """Name the level of each detection of each image, "" where in doubt."""
        confidence = self.calibration.place
        return [
            name_detections(found, region, self.levels, confidence=confidence)
            for found, region in zip(detections, regions, strict=True)
        ]


def level_prior(train: Sequence[Sample], regions: Sequence[Region]) -> LevelPrior | None:
    """Fit where discs lie on the training samples' annotations and the regions of these images."""
    levels = [disc_levels(sample.target, sample.levels) for sample in train]
    return fit_levels([sample.target for sample in train], levels, regions)


def fit_reading(
    detections: Sequence[Detections],
    validation: Sequence[Sample],
    *,
    levels: LevelPrior | None,
    least_score: float,
    alpha: float,
) -> Reading:
    """Fit on validation: thresholds of greatest F1, calibration, the promise on missed protrusions.

    Args:
        detections: one per validation image, every one that was kept.
        validation: the samples, in the same order.
        levels: where discs lie, from the training part (`level_prior`).
        least_score: score below which detections were dropped.
        alpha: largest expected share of a patient's protrusions missed.
    """
    targets = [sample.target for sample in validation]
    discs = match_discs(
        detections,
        targets,
        patients=[sample.patient_id for sample in validation],
        levels=[disc_levels(sample.target, sample.levels) for sample in validation],
        least_score=least_score,
    )
    return Reading(
        operating=choose_operating_points(detections, targets, least_score=least_score),
        calibration=fit_calibration(detections, targets, discs),
        conformal=fit_conformal(discs, alpha=alpha, least_score=least_score),
        levels=levels,
    )
