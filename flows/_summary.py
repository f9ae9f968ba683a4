"""What a person reads after a training: one row per model, stage times, where the pictures are."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows._dvc import StageRun
from meddet.files import read_json

NOTICE = "Research use only; phantom scores say nothing about clinical performance."
_EMBEDDED_BYTES = 400_000
_UNKNOWN = "-"


@dataclass(frozen=True)
class Row:
    """One model: what was measured of it, None where nothing was. The keys are those of `COLUMNS`."""

    model: str
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """A number of the table: its title, where the reports hold it (file, path of keys) and how it is written."""

    title: str
    report: str
    path: tuple[str, ...]
    format: str


COLUMNS = (
    Column("AP50 agnostic", "evaluate", ("agnostic", "ap50"), "{:.3f}"),
    Column("mAP50 classes", "evaluate", ("classes", "map50"), "{:.3f}"),
    Column("recall@.5", "evaluate", ("agnostic", "recall50"), "{:.3f}"),
    Column("parameters", "benchmark", ("parameters",), "{:,.0f}"),
    Column("GMAC", "benchmark", ("gmac",), "{:.2f}"),
    Column("p50 ms", "benchmark", ("latency_ms", "p50"), "{:.1f}"),
    Column("speed ratio", "benchmark", ("speed_ratio",), "{:.2f}"),
)


@dataclass(frozen=True)
class Results:
    """The rows in the reports' order, the student first."""

    rows: tuple[Row, ...]

    def headline(self) -> dict[str, float]:
        """The table as metrics of the whole run, e.g. "student.AP50_agnostic"."""
        return {
            f"{row.model}.{title.replace(' ', '_').replace('@', '_at_')}": float(value)
            for row in self.rows
            for title, value in row.values.items()
            if isinstance(value, int | float)
        }

    def student_tags(self) -> dict[str, str]:
        """The student's numbers as tags of its model version."""
        student = next((row for row in self.rows if row.model == "student"), Row("student"))
        return {title.replace(" ", "_").replace("@", "_at_"): str(value) for title, value in student.values.items()}

    def cells(self) -> list[list[str]]:
        """The table as text: a line of titles, then a line per model."""
        lines = [[row.model, *(_cell(column, row.values.get(column.title)) for column in COLUMNS)] for row in self.rows]
        return [["model", *(column.title for column in COLUMNS)], *lines]


def read_results(project: Path) -> Results:
    """Collect the table from reports/evaluate.json and reports/benchmark.json; what isn't there stays open."""
    reports = {name: _report(project / "reports" / f"{name}.json") for name in ("evaluate", "benchmark")}
    names = dict.fromkeys(["student", *(name for report in reports.values() for name in report)])
    rows = []
    for name in names:
        values = {column.title: _at(reports[column.report].get(name), column.path) for column in COLUMNS}
        known = {title: value for title, value in values.items() if value is not None}
        if known:
            rows.append(Row(name, known))
    return Results(tuple(rows))


def pictures(project: Path) -> list[Path]:
    """The report's pictures, relative to the project."""
    return sorted(path.relative_to(project) for path in (project / "reports").rglob("*.png"))


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
    models = content.get("models") if isinstance(content, dict) else None
    return models if isinstance(models, dict) else {}


def _at(content: Any, path: Sequence[str]) -> Any:
    for key in path:
        content = content.get(key) if isinstance(content, dict) else None
    return content


def _cell(column: Column, value: Any) -> str:
    if value is None:
        return _UNKNOWN
    return column.format.format(value) if isinstance(value, int | float) else str(value)
