"""Sections of the report page on boxes: how well they are found, and what the errors are."""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import getitem
from typing import Any

from meddet.pages.charts_forest import Row, forest
from meddet.pages.charts_svg import round_scale
from meddet.pages.report_curves import Rows, froc_figures, pr_figures
from meddet.pages.report_parts import Figure, Figures, Section, metrics_table
from meddet.pages.report_values import (
    STUDENT,
    Cell,
    Table,
    metric_name,
    model_name,
    name_cell,
    number,
    percent,
    real_ends,
)

_FIRST = ("ap50.any", "ap50", "ap50.protrusion", "ap50.non-protrusion", "ap10.any", "ap75.any", "ap50_95.any")


def blocks_of(evaluate: Mapping[str, Any], models: Sequence[str], *keys: str) -> dict[str, Mapping[str, Any]]:
    """Give the block under `keys` of each model, by the model's name for people."""
    return {model_name(name): reduce(getitem, keys, evaluate[name]) for name in models}


def detection_section(
    evaluate: Mapping[str, Any], locate: Mapping[str, Any], models: Sequence[str], pr: Rows, froc: Rows
) -> Section:
    """Say how well boxes are found."""
    found, by_rate = blocks_of(evaluate, models, "detection"), blocks_of(evaluate, models, "froc")
    names = list(evaluate[STUDENT]["detection"]["metrics"])
    rates = list(evaluate[STUDENT]["froc"]["metrics"])
    parts = (
        metrics_table(
            found,
            [name for name in _FIRST if name in names],
            first="metric",
            caption="Average precision",
            note="Any class: the labels are dropped, so it measures the place alone. No suffix: mean of the classes.",
        ),
        pr_figures(pr, models),
        froc_figures(froc, models),
        metrics_table(
            by_rate,
            rates,
            first="false positives per study",
            caption="Sensitivity at so many false positives per study (FROC)",
            folded=True,
        ),
        metrics_table(found, names, first="metric", caption="Every detection metric", folded=True),
    )
    lead = (
        "An annotated disc is found by a box that overlaps it; the overlap that counts (IoU) is part of each name. "
        f"{percent(locate['discs_inside_test'])} of the annotated test discs lie in the region that the locator hands "
        "to every model; no model can find the others."
    )
    return Section("detection", "Finding the discs", lead, parts)


def errors_section(evaluate: Mapping[str, Any], models: Sequence[str]) -> Section:
    """Say what kinds of error are made."""
    blocks = blocks_of(evaluate, models, "errors")
    student = evaluate[STUDENT]["errors"]
    names = list(student["metrics"])
    counts = {model: block["counts"] for model, block in blocks.items()}
    rows = [(name_cell(metric_name(n)), *(Cell(number(count.get(n))) for count in counts.values())) for n in names]
    parts = (
        Figures((Figure("The student's errors per image, with 95 % intervals", _error_chart(student)),)),
        metrics_table(blocks, names, first="error", caption="Errors per image"),
        Table("Errors in all test images", ("error", *blocks), tuple(rows), folded=True),
    )
    lead = (
        "At the operating point, every wrong call has one cause. A box on the C2 synchondrosis or on a thoracic disc "
        "that the annotators left out is counted apart from one on nothing."
    )
    return Section("errors", "Errors by kind", lead, parts)


def _error_chart(block: Mapping[str, Any]) -> Any:
    rows, ends = [], [0.0]
    for name, value in block["metrics"].items():
        reach = real_ends(block["ci95"].get(name))
        real = None if isinstance(value, str) else float(value)
        kind, _, where = metric_name(name).partition(": ")
        rows.append(Row(where or kind, number(value, digits=2), real, reach, below=kind if where else ""))
        ends += [real or 0.0, *(reach or ())]
    axis = round_scale(ends, "errors per image")
    said = ", ".join(f"{row.name} {row.shown}" for row in rows)
    return forest(f"Errors of the student per image: {said}", rows, axis, reference=None)
