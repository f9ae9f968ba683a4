"""Who was scanned, who was left out and why, and what remains: as numbers and as a flow chart."""

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from meddet.classes import CLASS_IDS
from meddet.data.raw import Patient, RawBox, RawImage, enrolled
from meddet.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REASONS = {
    "quality": "image quality",
    "incomplete": "incomplete cervical spine",
    "operated": "earlier surgery",
    "no_image": "no usable image",
}
"""Reasons for exclusion, in the order in which they are looked at, and as they are written."""

_PANEL_WIDTH = 3.2
_INK, _MUTED, _LINE, _PANEL, _ACCENT = "#1c2733", "#5b6875", "#8a97a3", "#f5f7f9", "#1f6f8b"


@dataclass(frozen=True)
class Funnel:
    """The numbers of the flow chart. `excluded` counts each patient once, by the first reason that applies."""

    scanned: int
    excluded: dict[str, int]
    enrolled: int
    images: int
    boxes: dict[str, int]
    unlisted_files: int


def exclusion(patient: Patient) -> str | None:
    """Name the first flag that keeps a patient out."""
    if not patient.quality_ok:
        return "quality"
    if not patient.complete:
        return "incomplete"
    return "operated" if patient.operated else None


def count_funnel(
    patients: Sequence[Patient], images: Iterable[RawImage], boxes: Iterable[RawBox], *, unlisted_files: int
) -> Funnel:
    """Count enrolment; `images` are those that could be used, `boxes` what is drawn on any.

    `unlisted_files` are in data/images without an entry in annotations.json.
    """
    allowed = {patient.patient_id for patient in patients if enrolled(patient)}
    used = {image.id: image.patient_id for image in images if image.patient_id in allowed}
    reasons = Counter(exclusion(patient) for patient in patients)
    reasons["no_image"] = len(allowed - set(used.values()))
    classes = Counter(box.category_id for box in boxes if box.image_id in used)
    return Funnel(
        scanned=len(patients),
        excluded={reason: reasons[reason] for reason in REASONS},
        enrolled=len(set(used.values())),
        images=len(used),
        boxes={name: classes[category] for name, category in CLASS_IDS.items()},
        unlisted_files=unlisted_files,
    )


def funnel_json(funnel: Funnel) -> dict[str, object]:
    """Give the numbers as JSON."""
    return asdict(funnel)


def draw_funnel(path: Path, funnel: Funnel) -> None:
    """Draw a CONSORT-style flow chart as a PNG; the same numbers are the same bytes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.4), dpi=150, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 8), ylim=(0, 5.4))
    axes.axis("off")
    axes.text(0.5, 5.05, "Enrolment", color=_INK, fontsize=15, fontweight="bold", va="center")
    axes.text(7.5, 0.2, "research use only", color=_MUTED, fontsize=8, va="center", ha="right")
    shown = {reason: count for reason, count in funnel.excluded.items() if count or reason != "no_image"}
    reasons = [(f"{count:,}", REASONS[reason]) for reason, count in shown.items()]
    boxes = [(f"{count:,}", f"{name} boxes") for name, count in funnel.boxes.items()]
    left_out = _plural(sum(funnel.excluded.values()), "patient") + " left out"
    _panel(axes, (0.5, 4.1), 0.6, _plural(funnel.scanned, "patient") + " scanned", [], edge=_LINE)
    _panel(axes, (4.3, 2.4), 1.6, left_out, reasons, edge=_LINE)
    _panel(axes, (0.5, 1.75), 0.6, _plural(funnel.enrolled, "patient") + " enrolled", [], edge=_ACCENT)
    _panel(axes, (0.5, 0.3), 1.05, _plural(funnel.images, "image"), boxes, edge=_ACCENT)
    for start, end in (((2.1, 4.1), (2.1, 2.36)), ((2.1, 3.2), (4.29, 3.2)), ((2.1, 1.75), (2.1, 1.36))):
        arrow = {"arrowstyle": "-|>", "color": _LINE, "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", xy=end, xytext=start, arrowprops=arrow)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_atomic(path, buffer.getvalue())


def _panel(
    axes: "Axes", corner: tuple[float, float], height: float, title: str, lines: list[tuple[str, str]], *, edge: str
) -> None:
    """Draw a box with a title and lines of a number, flush right, and what it counts."""
    from matplotlib.patches import FancyBboxPatch

    x, y = corner
    shape = "round,pad=0,rounding_size=0.08"
    axes.add_patch(FancyBboxPatch(corner, _PANEL_WIDTH, height, boxstyle=shape, fc=_PANEL, ec=edge, lw=1.2))
    top = y + height / 2 + 0.14 * len(lines)
    axes.text(x + 0.25, top, title, color=_INK, fontsize=12, fontweight="bold", va="center_baseline")
    for row, (number, text) in enumerate(lines, start=1):
        level = top - 0.28 * row
        axes.text(x + 0.75, level, number, color=_INK, fontsize=10, va="center_baseline", ha="right")
        axes.text(x + 0.87, level, text, color=_MUTED, fontsize=10, va="center_baseline")


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"
