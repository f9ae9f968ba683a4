"""What a person reads after a training: one row per model, stage times, where the pictures are."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows._dvc import StageRun
from meddet.files import read_json

NOTICE = "Research use only; phantom scores say nothing about clinical performance."
_EMBEDDED_BYTES = 400_000
_UNKNOWN = "-"


@dataclass(frozen=True)
class Column:
    """A number of the table: its title, where a model's part of the report holds it, and how it is written."""

    title: str
    path: tuple[str, ...]
    format: str


QUALITY = (
    Column("AP50 any class", ("class_agnostic", "ap50_coco"), "{:.3f}"),
    Column("recall any class", ("class_agnostic", "recall50"), "{:.3f}"),
    Column("AP50 mean class", ("ap50_coco",), "{:.3f}"),
    Column("disc AUC", ("discs", "auc"), "{:.3f}"),
    Column("AUC of level", ("discs", "auc_level_prior"), "{:.3f}"),
)
COST = (
    Column("parameters", ("parameters",), "{:,}"),
    Column("GMAC 512", ("gmac_512",), "{:.2f}"),
    Column("p50 ms", ("latency", "onnxruntime", "p50_ms"), "{:.1f}"),
)
SPEED = Column("speed ratio", (), "{:.2f}")
_TOLD = {
    "ap50.any": "AP50 any class",
    "disc_auc": "disc AUC",
    "sensitivity.protrusion": "sensitivity for protrusion",
    "false_positives_per_image.protrusion": "at false positives per image",
}
LEGEND = (
    "AP50: COCO's, IoU 0.5, test patients; recall: IoU 0.5, above the detection threshold;\n"
    "disc AUC: protrusion or not, of located discs, beside what the disc's level alone tells;\n"
    "p50: ONNX Runtime, one view; speed ratio: smallest teacher = 1.\n"
    "The baseline is the student without teachers: the same network, measured once."
)


@dataclass(frozen=True)
class Results:
    """The table: for each model, the student first, its values by column title; and the reports' own remarks."""

    models: dict[str, dict[str, Any]]
    remarks: tuple[str, ...]

    def headline(self) -> dict[str, float]:
        """The table as metrics of the whole run, e.g. "student.disc_AUC"."""
        return {
            f"{model}.{title.replace(' ', '_')}": float(value)
            for model, values in self.models.items()
            for title, value in values.items()
            if isinstance(value, int | float)
        }

    def student_tags(self) -> dict[str, str]:
        """The student's numbers as tags of its model version."""
        return {title.replace(" ", "_"): str(value) for title, value in self.models.get("student", {}).items()}

    def cells(self) -> list[list[str]]:
        """The table as text: a line of titles, then a line per model."""
        columns = (*QUALITY, *COST, SPEED)
        lines = [
            [model, *(_cell(column, values.get(column.title)) for column in columns)]
            for model, values in self.models.items()
        ]
        return [["model", *(column.title for column in columns)], *lines]


def read_results(project: Path) -> Results:
    """Collect the table from reports/evaluate.json and reports/benchmark.json; what isn't there stays open."""
    evaluate, benchmark = (_report(project / "reports" / f"{name}.json") for name in ("evaluate", "benchmark"))
    quality = {name: part for name, part in evaluate.items() if isinstance(_at(part, ("class_agnostic",)), dict)}
    costs = _at(benchmark, ("models",)) or {}
    against = _at(benchmark, ("student_against_smallest_teacher",)) or {}
    teacher_ms = _at(costs.get(against.get("teacher")), COST[-1].path)
    models = {}
    teachers = {*quality, *costs} - {"student", "baseline"}
    by_size = sorted(teachers, key=lambda name: (_at(costs.get(name), COST[0].path) or 0, name))
    for name in ["student", "baseline", *by_size]:
        cost = costs.get("student" if name == "baseline" else name)
        values = {column.title: _at(quality.get(name), column.path) for column in QUALITY}
        values |= {column.title: _at(cost, column.path) for column in COST}
        if teacher_ms and values[COST[-1].title]:
            values[SPEED.title] = teacher_ms / values[COST[-1].title]
        if known := {title: value for title, value in values.items() if value is not None}:
            models[name] = known
    remarks = [*_intervals(evaluate), *evaluate.get("remarks", ())]
    return Results(models, (*remarks, *_comparison(against, _at(benchmark, ("paper",)) or {})))


def _intervals(evaluate: dict[str, Any]) -> list[str]:
    """How sure the student's numbers are."""
    block = _at(evaluate, ("student", "operation")) or {}
    told = []
    for name, words in _TOLD.items():
        value, ends = _at(block, ("metrics", name)), _at(block, ("ci95", name))
        if isinstance(value, float) and ends:
            told.append(f"{words} {value:.3f} ({' to '.join(f'{end:.3f}' for end in ends)})")
    patients = _at(block, ("n", "patients"))
    return [f"student, 95 % intervals over {patients} patients: {', '.join(told)}"] if told else []


def _comparison(against: dict[str, Any], paper: dict[str, Any]) -> list[str]:
    """The student against the smallest teacher, beside what the paper says."""
    names = {"parameters_saved_percent": "% fewer parameters", "operations_saved_percent": "% fewer operations"}
    parts = [f"{against[key]:.1f} {words} (paper {paper.get(key)})" for key, words in names.items() if key in against]
    speed = _at(against, ("speedup", "onnxruntime"))
    if speed is not None:
        parts.append(f"{speed:.2f}x as fast in ONNX Runtime (paper {paper.get('speedup')}x, another machine)")
    return [f"student against {against['teacher']}: {', '.join(parts)}"] if parts else []


def pictures(project: Path) -> list[Path]:
    """The report's pictures, relative to the project."""
    return sorted(path.relative_to(project) for path in (project / "reports").rglob("*.png"))


def pages(project: Path) -> list[Path]:
    """The pages that stages made for people, relative to the project."""
    return sorted(path.relative_to(project) for path in (project / "artifacts").rglob("*.html"))


def announce(run: StageRun) -> None:
    """Say on the terminal that a stage is done."""
    print(f"   {run.name}: {_STATES[run.state]}, {duration(run.seconds)}", flush=True)


def duration(seconds: float) -> str:
    """Write seconds as people do: "4.2 s", "3 min 12 s"."""
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def stage_cells(runs: Sequence[StageRun]) -> list[list[str]]:
    """Stage times as text, with their sum."""
    lines = [[run.name, _STATES[run.state], duration(run.seconds)] for run in runs]
    return [["stage", "", "time"], *lines, ["all", "", duration(sum(run.seconds for run in runs))]]


def as_text(cells: Sequence[Sequence[str]]) -> str:
    """Lay out a table for the terminal: names to the left, numbers to the right."""
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    aligned = (
        [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        for line in cells
    )
    return "\n".join("  ".join(line).rstrip() for line in aligned)


def as_markdown(cells: Sequence[Sequence[str]]) -> str:
    """Lay out a table in Markdown."""
    rule = ["---"] + ["---:"] * (len(cells[0]) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in [cells[0], rule, *cells[1:]])


def picture_markdown(project: Path, picture: Path) -> str:
    """A picture inside Markdown; only its path where it is large."""
    content = (project / picture).read_bytes()
    if len(content) > _EMBEDDED_BYTES:
        return f"**{picture}** ({len(content) // 1024} KiB, in the project's folder)"
    return f"**{picture}**\n\n![{picture.stem}](data:image/png;base64,{base64.b64encode(content).decode()})"


_STATES = {"ran": "ran", "restored": "restored from DVC's cache", "unchanged": "unchanged"}


def _report(path: Path) -> dict[str, Any]:
    content = read_json(path) if path.is_file() else {}
    return content if isinstance(content, dict) else {}


def _at(content: Any, path: Sequence[str]) -> Any:
    for key in path:
        content = content.get(key) if isinstance(content, dict) else None
    return content


def _cell(column: Column, value: Any) -> str:
    if value is None:
        return _UNKNOWN
    return column.format.format(value) if isinstance(value, int | float) else str(value)
