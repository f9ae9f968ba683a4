"""The model card that travels in the bundle: what is known when the model is packed, and blanks for what isn't."""

from meddet.classes import CLASSES
from meddet.drift.features import FEATURES
from meddet.drift.reference import LEAST_STUDIES, QUANTILES
from meddet.evaluate.conformal import Conformal
from meddet.evaluate.pr import OperatingPoint
from meddet.facts import BLANK, Facts


def model_card(facts: Facts) -> str:
    """Write the card in Markdown. Numbers of the test part have no place here: they are in the report."""
    rows = "\n".join(
        f"| {name} | {facts.patients[name]} | {facts.images[name]} | {facts.people[name]} |" for name in facts.patients
    )
    points = "\n".join(_point_row(name, point) for name, point in facts.operating.items())
    start = f"with the neck and head of {facts.inherited_from}" if facts.inherited_from else "from scratch"
    image, score = (sum(each.source == source for each in FEATURES.values()) for source in ("image", "score"))
    schedule = ", ".join(f"{key} {value}" for key, value in facts.training.items())
    left_out = ", ".join(f"{reason.replace('_', ' ')} {count}" for reason, count in facts.excluded.items() if count)
    height, width = facts.input_size
    return f"""# MedDet: cervical disc detector

**For research only. It is not a medical device and must not be used for diagnosis or treatment.**
Scores on phantom data are not clinical scores.

## Intended use

Locates the discs C2/3 to C7/T1 on mid-sagittal T2-weighted MRI of the cervical spine, names their levels and scores
each as {CLASSES[0]} or {CLASSES[1]}. Meant for method research and teaching.
It doesn't see foraminal disease, cord signal, ossified ligament, tumour, infection or fracture. Whether a disc bulges
or protrudes is defined on the axial plane, which it never sees. A protrusion on an image is not a symptom: many people
without complaints have one.

## Training data

Data set md5 `{facts.data_md5}`. Of {facts.scanned} patients {sum(facts.patients.values())} were enrolled; left out:
{left_out or "none"}. No patient is in two parts.

| part | patients | images | who they are |
|---|---|---|---|
{rows}

- Scanners: {", ".join(facts.scanners) or BLANK}
- Readers: {facts.readers or f"one set of boxes; who drew them, and agreement with others: {BLANK}"}
- Origin, dates, rule of annotation, access to reports or axial images: {BLANK}

## Model

Generalized focal loss detector on MobileNetV2 with nmODE^2 in the head: {facts.cost.parameters:,} parameters,
{facts.cost.gmac:.2f} GMAC at {height} x {width} pixels. A small second network finds the column first; the
detector looks at that region.
Trained with the method `{facts.method}` from the teachers {", ".join(facts.teachers)}, on the data above alone: the
teachers from scratch, the student starting {start}.

- The student's schedule: {schedule}
- Sources: SHA-256 `{facts.code_sha256}`

## Operating point

The score threshold of greatest F1 at IoU 0.5 on the validation part; the test part had no say in it.

| class | threshold | F1 | precision | recall |
|---|---|---|---|---|
{points}

{_promise(facts.conformal)}

## Calibration

Scores and probabilities are mapped by isotonic regression, fitted on the validation part: a box's score to its expected
IoU, a disc's share of the protrusion score to its chance of being annotated as one. How well they hold on other
patients stands in the report.

## Drift

`reference.json` says how {len(FEATURES)} numbers lie among the patients that this model was made from:
{image} of the images over the training patients, {score} of the scores over the validation patients.
It holds {QUANTILES} quantiles and {facts.rule.bins} bins for each, of at least {LEAST_STUDIES} patients; no pixels, and
nothing that names or links one of them.
`meddet drift FILES...` compares the newest {facts.rule.window} studies with it. It says that the images or the scores
have changed, never whether the model is right.

## Limits

- Trained and checked on one data set; how it does at another hospital, scanner or sequence: {BLANK}
- Agreement of the model with readers: {BLANK}
- Behaviour under noise, motion and metal: simulated in the report; on real artefacts {BLANK}

Test numbers stand in the report of the training that made this bundle, not here.
"""


def _promise(conformal: Conformal | None) -> str:
    if conformal is None:
        return ""
    wanted = (
        f"For a patient like those of validation, exchangeable with its {conformal.patients}, the expected share of "
        f"missed protrusions is at most {conformal.alpha:g}"
    )
    if conformal.threshold is None:
        return f"{wanted}: no threshold of the protrusion score holds this (conformal risk control)."
    return f"{wanted} at a protrusion score above {conformal.threshold:.4f} (conformal risk control)."


def _point_row(name: str, point: OperatingPoint) -> str:
    shares = " | ".join(_digits(value) for value in (point.f1, point.precision, point.recall))
    return f"| {name} | {point.threshold:.4f} | {shares} |"


def _digits(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3f}"
