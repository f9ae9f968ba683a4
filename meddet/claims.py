"""The reporting checklist that travels in the bundle: CLAIM 2024 and what TRIPOD+AI adds, filled where we know.

Topics are in our own words and the numbers are the guidelines' own, to be read beside them: Tejani et al., CLAIM 2024
Update, Radiology: Artificial Intelligence 2024 (items 1 to 44); Collins et al., TRIPOD+AI, BMJ 2024;385:e078378.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from meddet.facts import BLANK, Facts

_REPORT = "report.html"


@dataclass(frozen=True)
class Item:
    """A row: the guideline's number, what it asks for, and the answer; `BLANK` where only the authors know."""

    number: str
    topic: str
    answer: str


def claim_checklist(facts: Facts) -> str:
    """Write the checklist in Markdown; blanks are counted at its head."""
    claim, tripod = list(_claim(facts)), list(_tripod(facts))
    blanks = sum(BLANK in item.answer for item in [*claim, *tripod])
    return f"""# Reporting checklist

**For research only.** Filled by the stage `package` from what it knew: the data, the split, the training, validation.
Numbers of the test part stand in `{_REPORT}`. {blanks} of {len(claim) + len(tripod)} answers are blank or hold a blank
({BLANK}): they are the authors' to give. Topics are shortened; read them beside the guidelines themselves.

## CLAIM, 2024 update

| item | topic | answer |
|---|---|---|
{_rows(claim)}

## TRIPOD+AI, beyond CLAIM

| item | topic | answer |
|---|---|---|
{_rows(tripod)}
"""


def _claim(facts: Facts) -> Iterator[Item]:
    answers = {**_introduction(), **_data(facts), **_model(facts), **_results()}
    for number, (topic, answer) in sorted(answers.items()):
        yield Item(str(number), topic, answer)


def _introduction() -> dict[int, tuple[str, str]]:
    return {
        1: ("AI named in the title, with its kind", f"deep learning, object detection; title: {BLANK}"),
        2: ("summary of design, methods, results, conclusions", BLANK),
        3: ("background, intended use and role", f"intended use: model_card.md; background: {BLANK}"),
        4: ("aims and hypotheses", BLANK),
        5: ("prospective or retrospective", BLANK),
        6: ("goal of the study", BLANK),
    }


def _data(facts: Facts) -> dict[int, tuple[str, str]]:
    left_out = ", ".join(f"{reason.replace('_', ' ')} {count}" for reason, count in facts.excluded.items())
    enrolled = sum(facts.patients.values())
    return {
        7: ("data sources", f"data set md5 {facts.data_md5}; hospitals and dates: {BLANK}"),
        8: ("inclusion and exclusion", f"{facts.scanned} patients, {enrolled} enrolled; excluded: {left_out}"),
        9: ("preprocessing", "stored values windowed, turned upright, 16 bit; region of the column cut out"),
        10: ("selection of subsets of the data", f"slices as delivered; their choice: {BLANK}"),
        11: ("de-identification", f"ids hashed, tags and burned-in text checked at ingest; before that: {BLANK}"),
        12: ("missing data", "unreadable images and rows without reference are counted and refused, never imputed"),
        13: ("image acquisition", f"scanners {', '.join(facts.scanners) or BLANK}; protocol: {BLANK}"),
        14: ("reference standard, defined", f"boxes of two classes on sagittal T2; rule of annotation: {BLANK}"),
        15: ("why this reference standard", BLANK),
        16: ("who annotated, how trained", f"{facts.readers or 'one set of boxes'}; who and how trained: {BLANK}"),
        17: ("annotation of the test set", f"as the other parts; {facts.readers or BLANK}"),
        18: ("variability within and between readers", facts.readers or BLANK),
        19: ("how data were assigned to parts", f"stratified by patient, seed {facts.split_seed}"),
        20: ("level at which parts are disjoint", f"patient; near-duplicate images: {facts.duplicates}"),
        21: ("intended sample size", f"{facts.patients['test']} test patients; how that number was chosen: {BLANK}"),
    }


def _model(facts: Facts) -> dict[int, tuple[str, str]]:
    height, width = facts.input_size
    versions = ", ".join(f"{name} {version}" for name, version in sorted(facts.versions.items()))
    inherited = f"neck and head of {facts.inherited_from}" if facts.inherited_from else "random"
    schedule = ", ".join(f"{key} {value}" for key, value in facts.training.items())
    return {
        22: (
            "the model",
            f"GFL on MobileNetV2 with nmODE^2, {facts.cost.parameters:,} parameters, input {height} x {width}; "
            "config.json and detector.onnx are the model itself",
        ),
        23: ("software", f"{versions}; sources sha256 {facts.code_sha256}"),
        24: ("initial parameters", f"teachers random, student: {inherited}"),
        25: ("training", f"{facts.method} from {', '.join(facts.teachers)}; {schedule}"),
        26: ("how the final model was chosen", "the last step; one seed; no choice among models"),
        27: ("ensembles", "none; the teachers take part in training only"),
        28: ("metrics", f"defined in {_REPORT}, notes"),
        29: ("uncertainty and tests", "95 % bootstrap over patients; paired bootstrap with Holm's correction"),
        30: ("robustness", f"eight simulated MRI corruptions: {_REPORT}, noise"),
        31: ("explainability", "boxes and named levels; no saliency maps"),
        32: ("evaluation on internal data", f"{facts.patients['test']} patients held out: {_REPORT}"),
        33: ("testing on external data", f"none known when packed: {BLANK}"),
        34: ("registration of a trial", BLANK),
    }


def _results() -> dict[int, tuple[str, str]]:
    return {
        35: ("patients in and out", f"flow chart in {_REPORT}"),
        36: ("characteristics of the patients by part", f"model_card.md, training data; clinical ones: {BLANK}"),
        37: ("performance with uncertainty", _REPORT),
        38: ("diagnostic performance with precision", f"{_REPORT}, discs and patients"),
        39: ("failures", f"{_REPORT}, gallery and the worst 20"),
        40: ("limits", f"model_card.md, limits; the authors' view: {BLANK}"),
        41: ("what follows for practice", f"research use only; {BLANK}"),
        42: ("protocol and technical details", f"the repository at the version's revision; protocol: {BLANK}"),
        43: ("availability of software, model and data", BLANK),
        44: ("funding and role of funders", BLANK),
    }


def _tripod(facts: Facts) -> Iterator[Item]:
    yield Item("3c", "known health inequalities", BLANK)
    yield Item("5b", "dates of accrual and follow-up", BLANK)
    yield Item("12f", "calibration, its method", "isotonic on the validation part; tested in report.html")
    yield Item("14", "fairness", f"by sex, age, scanner, field strength, level: {_REPORT}, subgroups (n of 20 or more)")
    yield Item("15", "output of the model", "boxes, level, class, score, probability; operating point in model_card.md")
    yield Item("18a", "funding", BLANK)
    yield Item("18b", "conflicts of interest", BLANK)
    yield Item("18c", "protocol", BLANK)
    yield Item("18d", "registration", BLANK)
    yield Item("18e", "sharing of data", BLANK)
    yield Item("18f", "sharing of code", f"travels with the registered model; sha256 {facts.code_sha256}")
    yield Item("19", "patients and public involved", BLANK)
    yield Item("27a", "poor or missing input in use", "one line and a non-zero exit; drift monitor in reference.json")
    yield Item("27b", "what users must know or do", f"model_card.md, intended use; training of users: {BLANK}")
    yield Item("27c", "next steps", BLANK)


def _rows(items: list[Item]) -> str:
    return "\n".join(f"| {each.number} | {each.topic} | {_cell(each.answer)} |" for each in items)


def _cell(text: str) -> str:
    """Keep what a data set calls itself from breaking the table."""
    return " ".join(text.replace("|", "\\|").split())
