"""Which part each patient of a preset plays: excluded or not, mode, file format, read by raters or not."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from meddet.phantom.presets import Mode, Preset, stream

Exclusion = Literal["", "quality", "incomplete", "operated"]


@dataclass(frozen=True)
class Role:
    """What is settled of a patient before anything is drawn of him."""

    exclusion: Exclusion
    mode: Mode
    num_images: int
    dicom: bool
    rated: bool
    """Whether raters read his images; if so, their boxes are all that annotations say of him."""


def spread_modes(mix: tuple[tuple[Mode, float], ...], count: int) -> list[Mode]:
    """Deal the modes out so that every beginning of the list has the shares of the mix, to within one patient."""
    dealt: list[Mode] = []
    counts = dict.fromkeys((mode for mode, _ in mix), 0)
    for number in range(1, count + 1):
        mode = max(mix, key=lambda entry: round(entry[1] * number - counts[entry[0]], 6))[0]
        counts[mode] += 1
        dealt.append(mode)
    return dealt


@lru_cache(maxsize=8)
def roles(preset: Preset) -> tuple[Role, ...]:
    """Give the role of every patient; number 1 comes first."""
    if not 0 <= preset.rated_share <= 1 or not 0 <= preset.raters <= 26:
        raise ValueError(
            f"preset {preset.name}: expected 0 to 26 raters and a rated share of 0 to 1, "
            f"got {preset.raters} and {preset.rated_share}"
        )
    order = [int(v) for v in stream(preset.seed, 0, 0, "export").permutation(preset.scanned)]
    reasons: list[Exclusion] = ["quality"] * preset.excluded_quality
    reasons += ["incomplete"] * preset.excluded_incomplete
    reasons += ["operated"] * preset.excluded_operated
    reasons += [""] * preset.enrolled
    modes = spread_modes(preset.mix, preset.scanned)
    shuffled = stream(preset.seed, 0, 0, "coil").permutation(preset.scanned)
    dicom = {int(v) for v in shuffled[: round(preset.dicom_share * preset.scanned)]}
    num_rated = round(preset.rated_share * preset.enrolled) if preset.raters else 0
    found: dict[int, Role] = {}
    for place, index in enumerate(order):
        three = preset.excluded <= place < preset.excluded + preset.patients_with_three
        rated = place >= preset.scanned - num_rated
        found[index] = Role(reasons[place], modes[place], 3 if three else 2, index in dicom, rated)
    return tuple(found[index] for index in range(preset.scanned))
