"""The sizes in which the synthetic CDH-1848 comes, and the one place where its random streams are made."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

PROTRUSION_MM = 1.2
"""A disc is labelled protrusion if it reaches at least this far past the posterior vertebral line in that slice."""

Mode = Literal["easy", "default", "stress", "diverse"]
"""easy leaves a gap between the classes and has no artefacts; default is the paper's hospital; stress raises noise and
artefacts; diverse draws scanner, view, contrast and annotator anew for each patient."""

STREAMS = (
    "frame", "geometry", "pathology", "slice", "tissue", "surroundings", "coil", "noise", "artefact", "export",
    "protocol", "rater",
)  # fmt: skip


@dataclass(frozen=True)
class Preset:
    """How many patients are scanned, why some are excluded, and how their images are written."""

    name: str
    seed: int
    scanned: int
    excluded_quality: int
    excluded_incomplete: int
    excluded_operated: int
    side: int
    """Rows and columns of an image; of a diverse one 0.5 to 1.25 times as many."""
    patients_with_three: int
    """Enrolled patients with three images; every other patient has two."""
    dicom_share: float = 0.1
    """Share of the patients whose images are DICOM files; the others are PNG."""
    prevalence: float = 0.45
    """Expected share of discs whose label in the slice is protrusion."""
    label_noise: float = 0.0
    """Probability that the label of a disc within 0.4 mm of the threshold is flipped."""
    mix: tuple[tuple[Mode, float], ...] = (("default", 0.5), ("diverse", 0.5))
    """Modes and their shares of the patients."""
    raters: int = 3
    rated_share: float = 0.2
    """Share of the enrolled patients whose reference is what the raters agree on."""

    @property
    def excluded(self) -> int:
        """Patients that enrolment must drop."""
        return self.excluded_quality + self.excluded_incomplete + self.excluded_operated

    @property
    def enrolled(self) -> int:
        """Patients that remain."""
        return self.scanned - self.excluded

    def only(self, mode: Mode) -> "Preset":
        """Give the same set with every patient of one mode."""
        return replace(self, mix=((mode, 1.0),))

    def read_by(self, raters: int) -> "Preset":
        """Give the same set with every enrolled patient read by that many raters."""
        return replace(self, raters=raters, rated_share=1.0)


PRESETS: dict[str, Preset] = {
    "tiny": Preset("tiny", 1848, 12, 1, 1, 1, side=160, patients_with_three=1, dicom_share=0.2),
    "quick": Preset("quick", 1848, 240, 1, 2, 6, side=512, patients_with_three=5),
    "full": Preset("full", 1848, 944, 2, 6, 22, side=512, patients_with_three=20),
}


def stream(seed: int, patient: int, image: int, name: str) -> np.random.Generator:
    """Give the generator of one component of one image, so that a change in one leaves the others as they were.

    `image` 0 is what all images of a patient share; `patient` 0 is what the data set shares.
    """
    return np.random.default_rng(np.random.SeedSequence([seed, patient, image, STREAMS.index(name)]))
