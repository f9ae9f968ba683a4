"""The top of the report page: the headline, and the questions that the paper leaves open, answered one by one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meddet.pages.report_cost import ENGINE, engine_name, speedups
from meddet.pages.report_operation import p_value
from meddet.pages.report_values import (
    Cell,
    interval,
    measured,
    metric_name,
    model_name,
    number,
    percent,
    sentence,
)

_PRIMARY = ("ap50.any", "ap50", "disc_auc", "auc")


@dataclass(frozen=True)
class Headline:
    """A number of the headline: what it is, the number with its interval, and what to read it by."""

    title: str
    cell: Cell
    note: str


@dataclass(frozen=True)
class Answer:
    """A question, its answer in sentences, and the section that shows it."""

    question: str
    sentences: tuple[str, ...]
    section: str


def headlines(student: Mapping[str, Any], robustness: Mapping[str, Any]) -> list[Headline]:
    """Choose the numbers that the page opens with; how discs are told apart comes before where they are."""
    discs, operation = student["discs"], student["operation"]
    told = {"metrics": {"auc": discs["auc"]}, "ci95": {"auc": discs["auc_ci95"]}}
    patient = student["patients"]["disc"]["all"]
    rpc = robustness["models"]["student"]["rpc"]
    return [
        Headline(
            "AUC: is a located disc protruded?",
            measured(told, "auc"),
            f"the level alone gives {number(discs['auc_level_prior'])}",
        ),
        Headline(
            "Protrusions found at the operating point",
            measured(operation, "sensitivity.protrusion"),
            f"with {sentence(operation, 'false_positives_per_image.protrusion', digits=2)} false positives per image",
        ),
        Headline("AUC of a patient's disc, end to end", measured(patient, "auc"), "over all slices of the patient"),
        Headline(
            "AP50, any class: is the disc found?",
            measured(student["detection"], "ap50.any"),
            f"mean of the classes {sentence(student['detection'], 'ap50')}",
        ),
        Headline(
            "Left of that AP50 under noise (rPC)",
            measured(rpc, "ap50.any"),
            "mean over simulated corruptions",
        ),
    ]


def answers(
    evaluate: Mapping[str, Any],
    package: Mapping[str, Any],
    robustness: Mapping[str, Any],
    benchmark: Mapping[str, Any],
) -> list[Answer]:
    """Answer the seven questions for the student."""
    student = evaluate["student"]
    return [
        Answer("Which discs?", _discs(student), "discs"),
        Answer("Which patients?", _patients(student, evaluate["subgroups"]), "patients"),
        Answer("How sure?", _sure(student), "calibration"),
        Answer("At which operating point?", _operation(student, package), "operation"),
        Answer("Under which noise?", _noise(robustness), "noise"),
        Answer("Compared with what?", _compared(evaluate["comparisons"]), "comparisons"),
        Answer("At what cost?", _cost(benchmark), "cost"),
    ]


def _discs(student: Mapping[str, Any]) -> tuple[str, ...]:
    discs, levels = student["discs"], student["levels"]
    own = {name: block for name, block in levels["given_location"].items() if name != "all" and "metrics" in block}
    real = {n: b["metrics"]["sensitivity"] for n, b in own.items() if isinstance(b["metrics"]["sensitivity"], float)}
    told = [
        f"Of {discs['n']:,} annotated discs {percent(discs['located'])} were located.",
        f"Among these, protrusions and other discs are told apart with an AUC of {number(discs['auc'])} "
        f"({interval(discs['auc_ci95'])}); knowing the level alone gives {number(discs['auc_level_prior'])}.",
    ]
    if real:
        least, most = min(real, key=lambda name: real[name]), max(real, key=lambda name: real[name])
        told.append(f"Sensitivity runs from {number(real[least])} at {least} to {number(real[most])} at {most}.")
    right = sentence(levels["naming"], "right")
    wrong = sentence(levels["naming"], "wrong")
    return (*told, f"The level is named rightly for a share of {right} of the located discs, wrongly for {wrong}.")


def _patients(student: Mapping[str, Any], subgroups: Mapping[str, Any]) -> tuple[str, ...]:
    block = student["patients"]["patient"]
    withheld = [name for kind in subgroups.values() for name, each in kind.items() if "withheld" in each]
    number, positive = block["n"]["patients"], block["n"]["protrusions"]
    healthy = (
        f"Of the others the specificity is {sentence(block, 'specificity')}."
        if positive < number
        else "None is without one, so nothing can be said of how many patients are called for nothing."
    )
    told = [
        f"Of {number:,} test patients {positive:,} have a protrusion, found with a sensitivity of "
        f"{sentence(block, 'sensitivity')}. {healthy}"
    ]
    if withheld:
        told.append(f"Groups with fewer than 20 patients are withheld: {', '.join(withheld)}.")
    return tuple(told)


def _sure(student: Mapping[str, Any]) -> tuple[str, ...]:
    block, bound = student["calibration"], student["conformal"]
    told = [
        "Every number has a 95 % interval over resamples of the patients.",
        f"The Brier score of a disc is {sentence(block, 'brier_raw')} as scored and "
        f"{sentence(block, 'brier_calibrated')} after calibration on validation.",
    ]
    test = bound if "metrics" in bound else bound["test"]
    if bound["threshold"] is None:
        told.append(
            f"No threshold keeps the promise of at most {percent(bound['alpha'])} missed with only "
            f"{bound['validation_patients']} validation patients."
        )
    else:
        told.append(
            f"Above a score of {number(bound['threshold'])} at most {percent(bound['alpha'])} of the protrusions "
            f"should be missed; on the test the share was {sentence(test, 'miss_rate')}."
        )
    return tuple(told)


def _operation(student: Mapping[str, Any], package: Mapping[str, Any]) -> tuple[str, ...]:
    operation, point = student["operation"], package["operating_point"]["protrusion"]
    shares = {f"{100 * float(share):g} %": block for share, block in student["prevalence"].items()}
    values = ", ".join(f"{sentence(block, 'ppv')} at {share}" for share, block in shares.items())
    return (
        f"At a protrusion score of {number(point['threshold'])}, chosen on validation and frozen into the bundle.",
        f"There {sentence(operation, 'sensitivity.protrusion')} of the annotated protrusions are found, "
        f"with {sentence(operation, 'false_positives_per_image.protrusion', digits=2)} false positives "
        "per image.",
        f"The positive predictive value of a disc would be {values} protruded.",
    )


def _noise(robustness: Mapping[str, Any]) -> tuple[str, ...]:
    sample, student = robustness["sample"], robustness["models"]["student"]
    told = [
        f"Over {len(sample['corruptions'])} simulated corruptions ({sample['stated']}) the student's AP50 of any class "
        f"is {sentence(student['mpc'], 'ap50.any')} on average, a share of "
        f"{sentence(student['rpc'], 'ap50.any')} of its clean value."
    ]
    for pair, metrics in robustness["comparison"].items():
        row = metrics.get("rpc.ap50.any")
        if row is not None:
            names = " minus ".join(model_name(name) for name in pair.split(" - "))
            ends = interval((row["low"], row["high"]))
            told.append(f"The difference of that share, {names}, is {number(row['difference'])} ({ends}).")
    return tuple(told)


def _compared(comparisons: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Tell the pairs by the first of the primary metrics that was compared."""
    metrics = [name for name in _PRIMARY if any(row["metric"] == name for row in comparisons)]
    told = []
    for row in sorted(comparisons, key=lambda row: (row["against"] != "baseline", len(row["against"]), row["against"])):
        if metrics and row["metric"] == metrics[0]:
            against, ends = model_name(row["against"]), interval((row["low"], row["high"]))
            told.append(f"{against} {number(row['difference'])} ({ends}; p {_equals(p_value(row['p_holm']))})")
    if not told:
        return ("There is nothing to compare with.",)
    name = metric_name(metrics[0])
    return (f"Student minus each other model in {name}, on the same patients, p after Holm: {'; '.join(told)}.",)


def _cost(benchmark: Mapping[str, Any]) -> tuple[str, ...]:
    student, against = benchmark["models"]["student"], benchmark["student_against_smallest_teacher"]
    paper = benchmark["paper"]
    _, ratio = speedups(against)[0]
    return (
        f"{student['parameters'] / 1e6:.2f} million parameters and {number(student['gmac_512'], digits=1)} GMAC at "
        f"512 × 512; {number(student['latency'][ENGINE]['p50_ms'], digits=1)} ms per image in {engine_name(ENGINE)} on "
        f"{benchmark['machine']['processor']}.",
        f"That is {number(ratio, digits=2)} times as fast as {model_name(against['teacher'])} in the same engine; the "
        f"paper says {paper['speedup']} times.",
    )


def _equals(text: str) -> str:
    return text if text.startswith("<") else f"= {text}"
