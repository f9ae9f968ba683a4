"""Sections of the report page on discs and patients: which are protruded, and how far a score can be believed."""

from collections.abc import Mapping, Sequence
from typing import Any

from meddet.pages.report_curves import Rows, reliability_figures, roc_figures
from meddet.pages.report_detection import blocks_of
from meddet.pages.report_parts import Section, blocks_table, metrics_table
from meddet.pages.report_values import STUDENT, Cell, Table, measured, model_name, name_cell, number


def discs_section(evaluate: Mapping[str, Any], models: Sequence[str], roc: Rows) -> Section:
    """Say which discs are called protruded, level by level."""
    levels = evaluate[STUDENT]["levels"]
    naming = blocks_of(evaluate, models, "levels", "naming")
    located = {model: block["all"] for model, block in blocks_of(evaluate, models, "levels", "given_location").items()}
    named = {model: block["all"] for model, block in blocks_of(evaluate, models, "levels", "named").items()}
    parts = (
        _beside_level(evaluate, models),
        roc_figures(roc, models),
        blocks_table(
            levels["given_location"],
            first="level",
            caption="The student by level, given that the disc was located",
            note="The class apart from the place: only discs that a box found, under their annotated level.",
        ),
        blocks_table(
            levels["named"],
            first="level",
            caption="The student by level, end to end",
            note="As a reader sees it: the disc must be found and its level named rightly, or it counts as missed.",
        ),
        metrics_table(
            naming,
            list(levels["naming"]["metrics"]),
            first="located discs",
            caption="Naming the level",
            note="The detector names levels as one ordered chain and abstains where it isn't sure.",
        ),
        metrics_table(
            located,
            list(levels["given_location"]["all"]["metrics"]),
            first="metric",
            caption="Every model, given that the disc was located",
            folded=True,
        ),
        metrics_table(
            named,
            list(levels["named"]["all"]["metrics"]),
            first="metric",
            caption="Every model, end to end",
            folded=True,
        ),
    )
    lead = (
        "Every patient has the same discs, so finding them is the easy part. What a reader asks is which of them are "
        "protruded."
    )
    return Section("discs", "Which discs", lead, parts)


def patients_section(evaluate: Mapping[str, Any], models: Sequence[str]) -> Section:
    """Say what becomes of the discs over a patient's slices, and of the patient."""
    patients = evaluate[STUDENT]["patients"]
    whole = blocks_of(evaluate, models, "patients", "patient")
    discs = {model: block["all"] for model, block in blocks_of(evaluate, models, "patients", "disc").items()}
    parts = (
        metrics_table(
            whole,
            list(patients["patient"]["metrics"]),
            first="metric",
            caption="Patients: any protrusion",
        ),
        blocks_table(
            patients["disc"],
            first="level",
            caption="The student on discs of a patient, over the slices",
        ),
        metrics_table(
            discs,
            list(patients["disc"]["all"]["metrics"]),
            first="metric",
            caption="Every model on discs of a patient",
            folded=True,
        ),
    )
    return Section("patients", "Which patients", "The slices of a patient are read together.", parts)


def calibration_section(evaluate: Mapping[str, Any], models: Sequence[str], reliability: Rows) -> Section:
    """Say how far a score can be believed, and what is promised about misses."""
    blocks = blocks_of(evaluate, models, "calibration")
    names = list(evaluate[STUDENT]["calibration"]["metrics"])
    parts = (
        reliability_figures(reliability),
        metrics_table(
            blocks,
            names,
            first="metric",
            caption="Calibration",
            note="Lower is better. Calibrated: by isotonic regression that was fitted on validation.",
        ),
        _conformal(evaluate, models),
    )
    return Section("calibration", "How sure", "Does a score mean what it says? And what share may be missed?", parts)


def _beside_level(evaluate: Mapping[str, Any], models: Sequence[str]) -> Table:
    """Show the disc's AUC beside that of its level alone."""
    rows = []
    for key, title in (
        ("located", "located discs"),
        ("auc", "AUC of located discs"),
        ("auc_level_prior", "AUC of the level alone"),
        ("auc_gain", "gain over the level alone"),
    ):
        discs = [evaluate[name]["discs"] for name in models]
        flat = [{"metrics": {key: each[key]}, "ci95": {key: each[f"{key}_ci95"]}} for each in discs]
        rows.append((name_cell(title), *(measured(each, key) for each in flat)))
    note = "Lower cervical discs protrude more often: a model must tell more than the level does by itself."
    caption = "Is the disc located, and is it told apart?"
    return Table(caption, ("metric", *map(model_name, models)), tuple(rows), note=note)


def _conformal(evaluate: Mapping[str, Any], models: Sequence[str]) -> Table:
    """Show the bound on misses and what became of it on the test patients."""
    parts = {name: evaluate[name]["conformal"] for name in models}
    rows: list[tuple[Cell, ...]] = [
        (name_cell("promised miss rate, at most"), *(Cell(number(part["alpha"])) for part in parts.values())),
        (name_cell("score threshold"), *(_threshold(part["threshold"]) for part in parts.values())),
        (name_cell("validation patients"), *(Cell(number(part["validation_patients"])) for part in parts.values())),
    ]
    tests = {name: _block(part) for name, part in parts.items()}
    for name, title in (
        ("miss_rate", "miss rate on the test patients"),
        ("false_positives_per_image", "false positives per image there"),
    ):
        cells = [measured(block, name) for m, block in tests.items()]
        rows.append((name_cell(title), *cells))
    note = f"The bound holds if {parts[STUDENT]['bound_holds_if']}."
    caption = "A conformal bound on missed protrusions"
    return Table(caption, ("quantity", *map(model_name, models)), tuple(rows), note=note)


def _block(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Find the block of the test, which stands in the part itself or under `test`."""
    return part if "metrics" in part else part["test"]


def _threshold(value: float | int | None) -> Cell:
    return Cell("none holds", kind="word") if value is None else Cell(number(value))
