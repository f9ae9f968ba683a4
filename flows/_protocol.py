"""promotion.yaml, the written protocol of promotion, as frozen, typed sections. No number has its default here."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from meddet.config import Count, Fraction, Positive, Section, load_section

ClassName = Literal["protrusion", "non-protrusion"]
GroupKind = Literal["sex", "age", "scanner", "field_strength"]


class Integrity(Section):
    """What is checked before a number counts."""

    images: Count
    """Test images on which the version is loaded back, its engines compared and its detections computed again."""
    box_tolerance_px: Positive
    """Largest accepted difference of boxes, in pixels."""
    score_tolerance: Positive
    """Largest accepted difference of scores."""
    uncommitted: Literal["refuse", "accept"]
    """A version made from a tree with uncommitted changes: nobody can make it again from its revision."""


class Floors(Section):
    """What every version must reach on the whole test part, the first one, too."""

    sensitivity: Annotated[dict[ClassName, Fraction], Field(min_length=2)]
    """Least share of a class's discs that a call of this class finds at the operating point, by class."""
    false_positives_per_image: Positive
    """Most calls per image, of both classes together, that find no disc of their class."""
    ap50: Fraction
    """Least AP at IoU 0.5, mean over the classes."""
    ap50_any: Fraction
    """Least AP at IoU 0.5 where every label counts as the same."""
    disc_auc: Fraction
    """Least AUC of protrusion against the rest, over located discs."""
    latency_p50_ms: Positive
    """Longest median time of one image in ONNX Runtime on the machine that decides, locator included."""
    latency_ratio: Annotated[float, Field(ge=1)]
    """Largest ratio of this time to the champion's, measured in turns in the same run."""
    size_mb: Positive
    """Largest size of the bundle's files together, in MB (10^6 bytes)."""


class Regression(Section):
    """How much worse than the champion a number may be. Sensitivity and AP50 are judged class by class."""

    sensitivity: Fraction
    """Largest accepted loss of sensitivity of a class at the operating point."""
    ap50: Fraction
    """Largest accepted loss of AP at IoU 0.5 of a class."""
    disc_auc: Fraction
    """Largest accepted loss of AUC over located discs."""
    false_positives_per_image: Positive
    """Largest accepted gain of false positives per image, both classes together."""


class Groups(Section):
    """Groups of patients whom a new version may not serve worse."""

    kinds: Annotated[list[GroupKind], Field(min_length=1)]
    """Which kinds of groups are judged; named beforehand, so that nobody picks them by their result."""
    min_patients: Count
    """Least patients of a group that is judged; smaller ones are reported."""
    tolerance: Regression
    """Larger than for everyone: fewer patients, wider chance."""


class Comparison(Section):
    """The paired bootstrap by patient that shows whether the new version is better."""

    metric: Literal["ap50", "ap50.any", "ap50.protrusion", "disc_auc"]
    """The one number that decides; more is better."""
    margin: Annotated[float, Field(ge=0, lt=1)]
    """The lower end of the difference's 95 % interval must exceed this."""
    min_patients: Count
    """Least patients in the test part, and in the comparison; fewer hold."""
    resamples: Annotated[int, Field(ge=200)]
    """Draws of the patients."""
    seed: int
    """Of the draws."""


class Latency(Section):
    """How the time of one image is measured."""

    images: Count
    """Test images, one after the other in each round."""
    warmup: Count
    """Rounds that don't count."""
    rounds: Count
    """Rounds that count; champion and challenger take turns in each."""


class Protocol(Section):
    """The whole of promotion.yaml."""

    integrity: Integrity
    """Before a number counts."""
    floors: Floors
    """For every version."""
    regression: Regression
    """Against the champion, all patients."""
    groups: Groups
    """Against the champion, group by group."""
    comparison: Comparison
    """Against the champion: the number that decides."""
    latency: Latency
    """Measurement of time."""


def load_protocol(path: Path) -> Protocol:
    """Read and check promotion.yaml.

    Errors:
        ValueError: one line that names the file, the key, what was expected and what came.
    """
    return load_section(path, Protocol, what="the promotion protocol")
