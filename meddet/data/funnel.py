"""Who was scanned, who was left out and why, and what remains: as numbers and as a flow chart."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from meddet.data.table import CLASS_IDS, Patient, RawData, enrolled

REASONS = {"quality": "image quality", "incomplete": "incomplete cervical spine", "operated": "earlier surgery"}
"""Reasons for exclusion, in the order in which they are looked at, and as they are written."""

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
    """Name the first reason that keeps a patient out."""
    if not patient.quality_ok:
        return "quality"
    if not patient.complete:
        return "incomplete"
    return "operated" if patient.operated else None


def count_funnel(raw: RawData, *, unlisted_files: int) -> Funnel:
    """Count enrolment. `unlisted_files` are in data/images without an entry in annotations.json."""
    kept = {patient.patient_id for patient in raw.patients if enrolled(patient)}
    images = {image.id for image in raw.images if image.patient_id in kept}
    reasons = Counter(exclusion(patient) for patient in raw.patients)
    classes = Counter(box.category_id for box in raw.boxes if box.image_id in images)
    return Funnel(
        scanned=len(raw.patients),
        excluded={reason: reasons[reason] for reason in REASONS},
        enrolled=len(kept),
        images=len(images),
        boxes={name: classes[category] for name, category in CLASS_IDS.items()},
        unlisted_files=unlisted_files,
    )


def funnel_json(funnel: Funnel) -> dict[str, object]:
    """Give the numbers as JSON."""
    return asdict(funnel)


def draw_funnel(path: Path, funnel: Funnel) -> None:
    """Draw a CONSORT-style flow chart as a PNG; the same numbers are the same bytes."""
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from meddet.files import write_atomic

    figure = Figure(figsize=(8, 5.4), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 8), ylim=(0, 5.4))
    axes.axis("off")

    def panel(x: float, y: float, width: float, height: float, title: str, lines: list[str], edge: str) -> None:
        from matplotlib.patches import FancyBboxPatch

        style = "round,pad=0,rounding_size=0.08"
        axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, fc=_PANEL, ec=edge, lw=1.2))
        top = y + height / 2 + 0.13 * len(lines)
        axes.text(x + 0.25, top, title, color=_INK, fontsize=12, fontweight="bold", va="center")
        for row, line in enumerate(lines, start=1):
            axes.text(x + 0.25, top - 0.27 * row, line, color=_MUTED, fontsize=10, va="center")

    def arrow(start: tuple[float, float], end: tuple[float, float]) -> None:
        axes.annotate("", xy=end, xytext=start, arrowprops={"arrowstyle": "-|>", "color": _LINE, "lw": 1.2})

    left_out = sum(funnel.excluded.values())
    reasons = [f"{count:,}  {REASONS[reason]}" for reason, count in funnel.excluded.items()]
    boxes = [f"{count:,}  {name} boxes" for name, count in funnel.boxes.items()]
    panel(0.5, 3.95, 3.2, 0.8, _patients(funnel.scanned), ["scanned"], _LINE)
    panel(4.3, 2.5, 3.2, 1.3, f"{_patients(left_out)} left out", reasons, _LINE)
    panel(0.5, 1.65, 3.2, 0.8, _patients(funnel.enrolled), ["enrolled"], _ACCENT)
    panel(0.5, 0.0 + 0.35, 3.2, 1.0, f"{funnel.images:,} image{'s' * (funnel.images != 1)}", boxes, _ACCENT)
    arrow((2.1, 3.95), (2.1, 2.47))
    arrow((2.1, 3.15), (4.28, 3.15))
    arrow((2.1, 1.65), (2.1, 1.37))
    axes.text(0.5, 5.05, "Enrolment", color=_INK, fontsize=15, fontweight="bold", va="center")
    axes.text(7.5, 0.2, "research use only", color=_MUTED, fontsize=8, va="center", ha="right")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_atomic(path, buffer.getvalue())


def _patients(count: int) -> str:
    return f"{count:,} patient{'s' * (count != 1)}"
