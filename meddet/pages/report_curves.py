"""Figures of curves, from the rows of the CSV files that evaluate and robustness write."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from meddet.pages.charts_svg import Line, Scale, chart, unit_scale
from meddet.pages.report_parts import Figure, Figures
from meddet.pages.report_values import STUDENT, Cell, Table, model_name, name_cell

Rows = Sequence[Mapping[str, str]]
_SHOWN_POINTS = 11
_HONEST = "On the dashed diagonal a score is honest. A dot is a bin of scores, its area the number in it."
_RATES = ((0.125, "1/8"), (0.25, "1/4"), (0.5, "1/2"), (1.0, "1"), (2.0, "2"), (4.0, "4"), (8.0, "8"))
_CLASSES = (("protrusion", "Protrusion"), ("non-protrusion", "Non-protrusion"), ("any", "Any class"))


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read a CSV file with these columns.

    Errors:
        ValueError: there is no such file, or a column is missing.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows, found = list(reader), reader.fieldnames or []
    except FileNotFoundError:
        raise ValueError(f"{path}: expected a table of {', '.join(columns)}, found no file") from None
    if missing := [name for name in columns if name not in found]:
        raise ValueError(f"{path}: expected a column {missing[0]!r}, got {', '.join(found) or 'none'}")
    return rows


def points(rows: Rows, x: str, y: str, **chosen: str) -> list[tuple[float, float]]:
    """Collect the points of the rows with these values; rows whose value is a word are no points."""
    own = [row for row in rows if all(row[key] == value for key, value in chosen.items())]
    pairs = [(_real(row[x]), _real(row[y])) for row in own]
    return [(a, b) for a, b in pairs if math.isfinite(a) and math.isfinite(b)]


def key_of(models: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Give each model its series."""
    return tuple((model_name(name), index) for index, name in enumerate(models))


def model_figure(
    title: str,
    rows: Rows,
    models: Sequence[str],
    x: tuple[str, Scale],
    y: tuple[str, Scale],
    *,
    diagonal: bool = False,
    marked: bool = False,
    size: tuple[int, int] = (340, 270),
    listed: bool = True,
    chosen: Mapping[str, str],
) -> Figure:
    """Draw one curve of each model, the student's on top, and list some of their points.

    Args:
        title: of the figure.
        rows: of the CSV file, with a column `model`.
        models: the first is the student.
        x: column and axis.
        y: column and axis.
        diagonal: draw y = x.
        marked: every point has a dot.
        size: width and height in px.
        listed: some of the points are listed beside it.
        chosen: values that other columns must have.
    """
    curves = {name: points(rows, x[0], y[0], model=name, **chosen) for name in models}
    lines = [
        Line(index, curves[name], _dots(curves[name]) if marked else ())
        for index, name in enumerate(models)
        if curves[name]
    ]
    label = f"{title}: {y[1].title} against {x[1].title}, a curve for each of {', '.join(map(model_name, models))}"
    svg = chart(label, x[1], y[1], lines=lines[::-1], diagonal=diagonal, width=size[0], height=size[1])
    return Figure(title, svg, None if not listed else _listed(curves, f"{title}: {x[1].title} → {y[1].title}"))


def pr_figures(rows: Rows, models: Sequence[str]) -> Figures:
    """Draw precision against recall, class by class."""
    x, y = ("recall", unit_scale("recall")), ("precision", unit_scale("precision"))
    drawn = [model_figure(f"{title}, IoU 0.5", rows, models, x, y, chosen={"class": name}) for name, title in _CLASSES]
    return Figures(tuple(drawn), key_of(models))


def froc_figures(rows: Rows, models: Sequence[str]) -> Figures:
    """Draw sensitivity against false positives per study."""
    axis = Scale(_RATES[0][0], _RATES[-1][0], _RATES, "false positives per study", logarithmic=True)
    x, y = ("fp_per_study", axis), ("sensitivity", unit_scale("sensitivity"))
    shown = [row for row in rows if _RATES[0][0] <= _real(row["fp_per_study"]) <= _RATES[-1][0]]
    drawn = [
        model_figure(title, shown, models, x, y, chosen={"class": name})
        for name, title in _CLASSES
        if any(row["class"] == name for row in rows)
    ]
    note = "A study is all images of a patient; the horizontal axis doubles from tick to tick."
    return Figures(tuple(drawn), key_of(models), note)


def roc_figures(rows: Rows, models: Sequence[str]) -> Figures:
    """Draw the ROC curves of a disc of an image and of a patient's disc."""
    x, y = ("fpr", unit_scale("1 − specificity")), ("tpr", unit_scale("sensitivity"))
    units = (("disc", "Located discs of an image"), ("patient_disc", "Discs of a patient, over the slices"))
    drawn = [model_figure(title, rows, models, x, y, diagonal=True, chosen={"unit": unit}) for unit, title in units]
    return Figures(tuple(drawn), key_of(models), "The dashed diagonal is guessing.")


def reliability_figures(rows: Rows) -> Figures:
    """Draw what the student's scores promise against what came true, as scored and calibrated."""
    drawn = []
    for unit, title, promised, observed in (
        ("detection", "Detections", "predicted IoU", "observed IoU"),
        ("disc", "Discs: protruded or not", "predicted probability", "observed share"),
    ):
        states = ("raw", "calibrated")
        lines = [_bin_dots(rows, f"{unit} {state}", series) for series, state in enumerate(states, start=6)]
        label = f"{title}: {observed} against {promised}, the student as scored and calibrated on validation"
        svg = chart(label, unit_scale(promised), unit_scale(observed), lines=lines, diagonal=True)
        own = [row for row in rows if row["model"] == STUDENT and row["kind"].startswith(f"{unit} ")]
        drawn.append(Figure(title, svg, _bins(own, f"{title}: the bins")))
    return Figures(
        tuple(drawn),
        (("as scored", 6), ("calibrated", 7)),
        _HONEST,
    )


def _bin_dots(rows: Rows, kind: str, series: int) -> Line:
    """Draw a dot for each bin, of an area that grows with its number."""
    chosen = {"model": STUDENT, "kind": kind}
    places, counts = (points(rows, "predicted", column, **chosen) for column in ("observed", "n"))
    largest = max((count for _, count in counts), default=1.0)
    return Line(series, places, [1.5 + 7.5 * math.sqrt(count / largest) for _, count in counts], joined=False)


def _dots(curve: Sequence[tuple[float, float]]) -> list[float]:
    return [2.6] * len(curve)


def _bins(rows: Rows, caption: str) -> Table:
    columns = ("kind", "low", "high", "n", "predicted", "observed")
    shown = [(name_cell(row["kind"]), *(Cell(_short(row[column])) for column in columns[1:])) for row in rows]
    return Table(caption, ("scores", *columns[1:]), tuple(shown))


def _listed(curves: Mapping[str, Sequence[tuple[float, float]]], head: str) -> Table:
    """List up to eleven points of each curve, evenly through its rows."""
    rows = []
    for place in range(_SHOWN_POINTS):
        cells = []
        for curve in curves.values():
            if len(curve) <= _SHOWN_POINTS:
                cells.append(Cell(_arrow(*curve[place])) if place < len(curve) else Cell("–", kind="word"))
            else:
                cells.append(Cell(_arrow(*curve[round(place * (len(curve) - 1) / (_SHOWN_POINTS - 1))])))
        if any(cell.text != "–" for cell in cells):
            rows.append((name_cell(str(place + 1)), *cells))
    return Table(head, ("point", *map(model_name, curves)), tuple(rows))


def _arrow(x: float, y: float) -> str:
    return f"{x:.3g} → {y:.3f}"


def _real(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return math.nan


def _short(value: str) -> str:
    real = _real(value)
    return value or "–" if math.isnan(real) else f"{real:.4g}"
