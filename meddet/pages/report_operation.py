"""Sections of the report page on use: the operating point, other models, and groups of patients."""

from collections.abc import Mapping, Sequence
from typing import Any

from meddet.classes import CLASSES
from meddet.pages.charts_forest import Row, forest
from meddet.pages.charts_svg import Scale, round_scale, unit_scale
from meddet.pages.report_detection import blocks_of
from meddet.pages.report_parts import Figure, Figures, Section, blocks_table, metrics_table
from meddet.pages.report_values import (
    STUDENT,
    Cell,
    Table,
    interval,
    metric_name,
    model_name,
    model_names,
    name_cell,
    number,
    ordered,
    real_ends,
)

_KINDS = {"sex": "Sex", "age": "Age", "scanner": "Scanner", "field_strength": "Field strength", "level": "Level"}
_KEYS = {"threshold": "threshold", "precision": "precision", "recall": "recall", "f1": "F1"}
_OPERATION = (
    "sensitivity.protrusion",
    "sensitivity.non-protrusion",
    "sensitivity.any",
    "false_positives_per_image.protrusion",
    "false_positives_per_image.non-protrusion",
    "false_positives_per_image.any",
    "false_positives_per_image",
)


def operation_section(evaluate: Mapping[str, Any], models: Sequence[str], package: Mapping[str, Any]) -> Section:
    """Say at which thresholds a model is used, and what it does there."""
    rule = package["operating_point_rule"]
    shares = evaluate[STUDENT]["prevalence"]
    parts = (
        _thresholds(evaluate, models),
        metrics_table(
            blocks_of(evaluate, models, "operation"),
            _OPERATION,
            first="metric",
            caption="At the operating point, on the test patients",
            note="A call of the class that overlaps an annotated disc with IoU 0.5 finds it; any other call is false.",
        ),
        blocks_table(
            {f"{100 * float(share):g} %": block for share, block in shares.items()},
            first="prevalence",
            caption="The student's predictive values if so many discs were protruded",
            note="Sensitivity and specificity are those of the test; another clinic sees another share of protrusions.",
        ),
    )
    lead = f"Thresholds were chosen on the validation patients ({rule}), frozen into the bundle, and used on the test."
    return Section("operation", "At which operating point", lead, parts)


def comparisons_section(evaluate: Mapping[str, Any]) -> Section:
    """Compare the student with each other model, pair by pair."""
    order = model_names(evaluate)
    told = evaluate["comparisons"]
    rows = [
        row
        for metric in _metrics(told)
        for name in order
        for row in told
        if (row["metric"], row["against"]) == (metric, name)
    ]
    shown = [
        (
            name_cell(f"{model_name(row['model'])} − {model_name(row['against'])}"),
            Cell(metric_name(row["metric"]), kind="name"),
            Cell(number(row["difference"]), interval((row["low"], row["high"]))),
            Cell(p_value(row["p"])),
            Cell(p_value(row["p_holm"])),
            Cell(number(row["n_patients"])),
        )
        for row in rows
    ]
    head = ("pair", "metric", "difference", "p", "p (Holm)", "patients")
    figures = [_pairs(metric, [row for row in rows if row["metric"] == metric]) for metric in _metrics(rows)]
    note = (
        "Right of the dashed line the student has more of the metric; of false positives less is better. p is "
        "two-sided, by the paired bootstrap; Holm's correction is over the opponents within a metric."
    )
    parts = (
        Figures(tuple(figures), note=note),
        Table("Student against the others", head, tuple(shown)),
    )
    lead = "Both models of a pair saw the same patients, and every resample draws the same patients for both."
    return Section("comparisons", "Compared with what", lead, parts)


def subgroups_section(evaluate: Mapping[str, Any]) -> Section:
    """Show the student group by group."""
    groups = evaluate["subgroups"]
    overall = evaluate[STUDENT]["operation"]["metrics"]
    located = evaluate[STUDENT]["levels"]["given_location"]["all"]["metrics"]
    of_patients = {kind: members for kind, members in groups.items() if kind != "level"}
    of_discs = {kind: members for kind, members in groups.items() if kind == "level"}
    figures = [
        *(_group_figure(name, of_patients, overall.get(name)) for name in _metrics_of(of_patients)),
        *(_group_figure(name, of_discs, located.get(name)) for name in _metrics_of(of_discs)),
    ]
    tables = [
        blocks_table(
            members,
            first=_KINDS.get(kind, kind),
            caption=f"{_KINDS.get(kind, kind)}: every number",
            folded=True,
        )
        for kind, members in groups.items()
    ]
    note = (
        "Square: value; line: 95 % interval; dashed: all test patients. Groups of fewer than 20 patients are withheld. "
        "By level: located discs."
    )
    lead = "The groups were listed beforehand: sex, age, scanner, field strength and level. Nothing was searched for."
    return Section("subgroups", "Which patients, group by group", lead, (Figures(tuple(figures), note=note), *tables))


def p_value(value: float | int | str) -> str:
    """Show a p value."""
    if isinstance(value, str):
        return value
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _thresholds(evaluate: Mapping[str, Any], models: Sequence[str]) -> Table:
    rows = []
    for label in CLASSES:
        for key in _KEYS:
            cells = [evaluate[name]["at_operating_point"][label][key] for name in models]
            rows.append((name_cell(f"{label}: {_KEYS[key]}"), *(Cell(number(cell)) for cell in cells)))
    return Table("Thresholds, and what they give on the test", ("quantity", *map(model_name, models)), tuple(rows))


def _pairs(metric: str, rows: Sequence[Mapping[str, Any]]) -> Figure:
    shown = [
        Row(
            f"− {model_name(row['against'])}",
            number(row["difference"]),
            _real(row["difference"]),
            real_ends((row["low"], row["high"])),
            below=f"p (Holm) {p_value(row['p_holm'])}",
        )
        for row in rows
    ]
    ends = [abs(end) for row in shown for end in (row.value, *(row.ends or ())) if end is not None]
    half = round_scale([*ends, 0.01], "").high
    ticks = ((-half, f"−{half:g}"), (0.0, "0"), (half, f"+{half:g}"))
    axis = Scale(-half, half, ticks, "student minus the other")
    said = "; ".join(f"{row.name} {row.shown}" for row in shown)
    label = f"Student minus each other model, {metric_name(metric)}: {said}"
    return Figure(metric_name(metric), forest(label, shown, axis, reference=0.0))


def _group_figure(metric: str, groups: Mapping[str, Mapping[str, Any]], overall: float | int | str | None) -> Figure:
    rows = []
    for kind, members in groups.items():
        rows.append(Row(_KINDS.get(kind, kind), "", None, heading=True))
        if all("withheld" in block for block in members.values()):
            rows.append(Row(f"{len(members)} groups", "all withheld", None, below="fewer than 20 patients"))
        else:
            rows += [_group_row(name, block, metric) for name, block in members.items()]
    ends = [end for row in rows for end in (row.value, *(row.ends or ())) if end is not None]
    shares = all(end <= 1 for end in ends) and not metric.startswith("false_positives")
    axis = unit_scale(metric_name(metric)) if shares else round_scale(ends, metric_name(metric))
    said = "; ".join(f"{row.name} {row.shown}" for row in rows if not row.heading)
    label = f"{metric_name(metric)} of the student by group: {said}"
    return Figure(metric_name(metric), forest(label, rows, axis, reference=_real(overall)))


def _group_row(name: str, block: Mapping[str, Any], metric: str) -> Row:
    below = f"n = {block['n']['patients']:,} patients" if "patients" in block["n"] else ""
    if "withheld" in block:
        return Row(name, "withheld", None, below=below)
    value = block["metrics"].get(metric, "not measured")
    reach = real_ends(block["ci95"].get(metric))
    return Row(name, number(value, digits=2), _real(value), reach, below=below)


def _metrics_of(groups: Mapping[str, Mapping[str, Any]]) -> list[str]:
    blocks = [block for members in groups.values() for block in members.values()]
    return ordered(name for block in blocks for name in block.get("metrics", {}))


def _metrics(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(str(row["metric"]) for row in rows))


def _real(value: float | int | str | None) -> float | None:
    return None if value is None or isinstance(value, str) else float(value)
