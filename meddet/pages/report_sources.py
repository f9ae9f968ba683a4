"""The end of the report page: where its numbers come from, and what every word means."""

from collections.abc import Mapping
from typing import Any

from meddet.pages.report_parts import Section
from meddet.pages.report_values import Cell, Table, metric_name, name_cell, number

_DEFINITIONS = {
    "AP10, AP50, AP75, AP50:95": "average precision: the area under precision against recall at an overlap (IoU) of "
    "0.1, 0.5 or 0.75, or the mean over 0.50, 0.55, ..., 0.95; COCO's 101 recall points",
    "AP50, VOC area": "the same at IoU 0.5 as the area under all points (VOC 2010 and later)",
    "AR100": "average recall over IoU 0.50 to 0.95 with at most 100 boxes per image",
    "FROC": "sensitivity against the number of false positives per study, all images of a patient being one study",
    "AUC": "the chance that a protruded disc scores above another; a tie counts half; 0.5 is guessing",
    "sensitivity, specificity": "share of the protruded that are called so; share of the others that are not",
    "PPV, NPV": "share of the calls (and of the discs without one) that are right; they depend on the prevalence",
    "Cohen κ": "agreement with the annotation beyond chance; readers of cervical discs reach 0.45 to 0.56 among "
    "themselves (Yi 2015)",
    "Gwet AC1": "agreement beyond chance that doesn't break down where one answer is rare",
    "Brier score": "mean squared distance of a probability from what came true; lower is better",
    "LaECE₀": "mean distance of a detection's score from its overlap with the truth, bin by bin; lower is better",
    "miss rate": "share of the protrusions that the conformal threshold leaves out",
    "mPC, rPC": "mean of a metric over corruptions and severities; and that mean over the clean value",
    "GMAC": "thousand million multiplications with addition for one image",
    "p50, p95": "median and 95th percentile of single calls at batch 1",
    "95 % interval": "2.5th to 97.5th percentile over 2,000 resamples of the test patients, all images of one together",
    "Holm": "correction of p values for the number of comparisons in a family",
    "undefined (n=0)": "nothing is there to be counted; neither 0 nor 1",
    "withheld": "fewer than 20 patients: too few to say anything about the group",
}


def sources_section(
    evaluate: Mapping[str, Any], package: Mapping[str, Any], benchmark: Mapping[str, Any], robustness: Mapping[str, Any]
) -> Section:
    """List data, code and versions.

    Errors:
        ValueError: the reports are about different data or test patients.
    """
    same_source(evaluate, package, robustness)
    machine = benchmark["machine"]
    facts = {
        "data (md5)": evaluate["data_md5"],
        "test part (md5)": evaluate["test_md5"],
        "code that made the student (sha256)": evaluate["code_sha256"],
        "code of the bundle (sha256)": package["code_sha256"],
        **{f"benchmark: {name.replace('_', ' ')}": value for name, value in sorted(machine.items())},
    }
    rows = [(name_cell(name), Cell(_plain(value), kind="text")) for name, value in facts.items()]
    lead = (
        "Every number stands in a file of reports/; the gallery also reads images and detections. There is no date: "
        "the same files give the same page."
    )
    table = Table("Data, code and machine", ("what", "value"), tuple(rows))
    return Section("sources", "Where the numbers come from", lead, (table,))


def notes_section(evaluate: Mapping[str, Any], benchmark: Mapping[str, Any], robustness: Mapping[str, Any]) -> Section:
    """Define every word, and repeat what the stages say about their own numbers."""

    def table(caption: str, notes: Mapping[str, str]) -> Table:
        rows = [(name_cell(name), Cell(str(said), kind="text")) for name, said in notes.items()]
        return Table(caption, ("name", "meaning"), tuple(rows), folded=caption != "Definitions")

    def told(notes: Mapping[str, str]) -> dict[str, str]:
        return {metric_name(name): said for name, said in sorted(notes.items())}

    parts = (
        table("Definitions", _DEFINITIONS),
        table("Said by the stage evaluate", told(evaluate["notes"])),
        table("Said by the stage robustness", told(robustness["notes"])),
        table("Said by the stage benchmark", told(benchmark["notes"])),
    )
    return Section("notes", "What the words mean", "", parts)


def same_source(evaluate: Mapping[str, Any], package: Mapping[str, Any], robustness: Mapping[str, Any]) -> None:
    """Refuse reports that are about different data.

    Errors:
        ValueError: names the two files and what each of them says.
    """
    for key, other, file in (
        ("data_md5", package, "reports/package.json"),
        ("data_md5", robustness, "reports/robustness.json"),
        ("test_md5", robustness, "reports/robustness.json"),
    ):
        if other[key] != evaluate[key]:
            raise ValueError(f"{file}: {key}: expected {evaluate[key]} as in reports/evaluate.json, got {other[key]}")


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {_plain(each)}" for name, each in sorted(value.items()))
    return value if isinstance(value, str) else number(value, digits=2) if isinstance(value, float) else str(value)
