"""The report page: what was measured, for a radiologist, a reviewer and an engineer, in one file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from meddet.pages.charts_flow import flow_chart
from meddet.pages.report_answers import answers, headlines
from meddet.pages.report_cost import cost_section
from meddet.pages.report_curves import Rows
from meddet.pages.report_detection import detection_section, errors_section
from meddet.pages.report_discs import calibration_section, discs_section, patients_section
from meddet.pages.report_noise import noise_section
from meddet.pages.report_operation import comparisons_section, operation_section, subgroups_section
from meddet.pages.report_parts import Section
from meddet.pages.report_sources import notes_section, sources_section
from meddet.pages.report_values import STUDENT, model_names

CURVES = {
    "pr": ("model", "class", "recall", "precision"),
    "froc": ("model", "class", "fp_per_study", "sensitivity"),
    "roc": ("model", "unit", "fpr", "tpr"),
    "reliability": ("model", "kind", "low", "high", "n", "predicted", "observed"),
    "noise": ("model", "corruption", "severity", "ap50", "ap50_any", "disc_auc"),
}
"""The tables of curves, and their columns."""
REPORTS = ("enrolment", "ingest", "split", "locate", "package", "evaluate", "benchmark", "robustness")
"""The JSON files that the page is made of."""
_TEMPLATE, _STYLE = "report.html.j2", "report.css"


@dataclass(frozen=True)
class Sources:
    """What the page is made of: JSON by the names in `REPORTS`, each `Named`; rows of CSV by the names in `CURVES`."""

    reports: Mapping[str, Any]
    curves: Mapping[str, Rows]


def report_page(sources: Sources, *, gallery: Callable[[int], str], max_bytes: int) -> str:
    """Give the whole page; the same sources are the same text.

    Args:
        sources: of every number. None is computed here.
        gallery: makes the section `gallery`, complete markup of at most so many bytes.
        max_bytes: of the page.

    Errors:
        ValueError: a report lacks a key, the reports are about different data, or the page is too large.
    """
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    read = files("meddet.pages").joinpath
    template = environment.from_string(read(_TEMPLATE).read_text(encoding="utf-8"))
    reports = sources.reports
    before, after = _sections(sources)
    marker = "<!-- the gallery -->"
    page = template.render(
        style=Markup(read(_STYLE).read_text(encoding="utf-8")),
        headlines=headlines(reports["evaluate"][STUDENT], reports["robustness"]),
        test=reports["evaluate"]["test"],
        remarks=reports["evaluate"]["remarks"],
        answers=answers(reports["evaluate"], reports["package"], reports["robustness"], reports["benchmark"]),
        flow=flow_chart(reports["enrolment"], reports["ingest"], reports["split"]),
        before=before,
        after=after,
        gallery=Markup(marker),
        data_md5=reports["evaluate"]["data_md5"],
    )
    left = max_bytes - len(page.encode())
    if left > 0:
        page = page.replace(marker, gallery(left), 1)
    if (size := len(page.encode())) > max_bytes:
        raise ValueError(f"the report page: expected at most {max_bytes:,} bytes (report.megabytes), got {size:,}")
    return page


def _sections(sources: Sources) -> tuple[list[Section], list[Section]]:
    """Make the sections before and after the gallery."""
    reports, curves = sources.reports, sources.curves
    evaluate, benchmark, robustness = (reports[name] for name in ("evaluate", "benchmark", "robustness"))
    models = model_names(evaluate)
    return [
        discs_section(evaluate, models, curves["roc"]),
        patients_section(evaluate, models),
        operation_section(evaluate, models, reports["package"]),
        detection_section(evaluate, reports["locate"], models, curves["pr"], curves["froc"]),
        errors_section(evaluate, models),
        calibration_section(evaluate, models, curves["reliability"]),
        comparisons_section(evaluate),
        subgroups_section(evaluate),
        noise_section(robustness, models, curves["noise"]),
        cost_section(evaluate, benchmark, models),
    ], [
        sources_section(evaluate, reports["package"], benchmark, robustness),
        notes_section(evaluate, benchmark, robustness),
    ]
