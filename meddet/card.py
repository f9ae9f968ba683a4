"""The model card that travels in the bundle: what is known when the model is packed, and blanks for what isn't."""

from collections.abc import Mapping, Sequence

from meddet.classes import CLASSES
from meddet.cost import Cost
from meddet.drift.features import FEATURES
from meddet.drift.reference import LEAST_STUDIES, QUANTILES, Rule
from meddet.evaluate.pr import OperatingPoint

BLANK = "_not known_"


def model_card(
    *,
    data_md5: str,
    code: str,
    input_size: tuple[int, int],
    cost: Cost,
    teachers: Sequence[str],
    method: str,
    inherited_from: str | None,
    training: Mapping[str, object],
    images: Mapping[str, int],
    patients: Mapping[str, int],
    operating: Mapping[str, OperatingPoint],
    rule: Rule,
) -> str:
    """Write the card in Markdown. Numbers of the test part have no place here: they are in the report.

    Args:
        data_md5: of the raw data set.
        code: fingerprint of the sources.
        input_size: height and width of the detector's input.
        cost: of the detector at that size.
        teachers: their backbones.
        method: name of the distillation method.
        inherited_from: teacher whose neck and head the student started from, if any.
        training: the student's schedule, by name.
        images: number by part.
        patients: number by part.
        operating: operating point by class, chosen on validation.
        rule: of the drift monitor.
    """
    rows = "\n".join(f"| {name} | {patients[name]} | {images[name]} |" for name in patients)
    points = "\n".join(_point_row(name, point) for name, point in operating.items())
    start = f"with the neck and head of {inherited_from}" if inherited_from else "from scratch"
    image, score = (sum(each.source == source for each in FEATURES.values()) for source in ("image", "score"))
    schedule = ", ".join(f"{key} {value}" for key, value in training.items())
    return f"""# MedDet: cervical disc detector

**For research only. It is not a medical device and must not be used for diagnosis or treatment.**
Scores on phantom data are not clinical scores.

## Intended use

Locates the discs C2/3 to C7/T1 on mid-sagittal T2-weighted MRI of the cervical spine and scores each as
{CLASSES[0]} or {CLASSES[1]}. Meant for method research and teaching.
It doesn't see foraminal disease, cord signal, ossified ligament, tumour, infection or fracture, and a protrusion on an
image is not a symptom: many people without complaints have one.

## Training data

Data set md5 `{data_md5}`. Images and patients per part; no patient is in two.

| part | patients | images |
|---|---|---|
{rows}

- Origin, dates, scanners: {BLANK}
- Who annotated, with which rule, with what agreement: {BLANK}
- Ages and sexes: {BLANK}

## Model

Generalized focal loss detector on MobileNetV2 with nmODE^2 in the head: {cost.parameters:,} parameters,
{cost.gmac:.2f} GMAC at {input_size[0]} x {input_size[1]} pixels. A small second network finds the column first; the
detector looks at that region.
Trained with the method `{method}` from the teachers {", ".join(teachers)}, on the data above alone: the teachers from
scratch, the student starting {start}.

- The student's schedule: {schedule}
- Sources: SHA-256 `{code}`

## Operating point

The score threshold of greatest F1 at IoU 0.5 on the validation part; the test part had no say in it.

| class | threshold | F1 | precision | recall |
|---|---|---|---|---|
{points}

## Drift

`reference.json` says how {len(FEATURES)} numbers lie among the patients that this model was made from:
{image} of the images over the training patients, {score} of the scores over the validation patients.
It holds {QUANTILES} quantiles and {rule.bins} bins for each, of at least {LEAST_STUDIES} patients; no pixels, and
nothing that names or links one of them.
`meddet drift FILES...` compares the newest {rule.window} studies with it. It says that the images or the scores have
changed, never whether the model is right.

## Limits

- Trained and checked on one data set; how it does at another hospital, scanner or sequence: {BLANK}
- Agreement with readers, and of readers with each other: {BLANK}
- Calibration of the scores: {BLANK}
- Behaviour under motion, metal and noise: {BLANK}

Test numbers stand in the report of the training that made this bundle, not here.
"""


def _point_row(name: str, point: OperatingPoint) -> str:
    shares = " | ".join(_digits(value) for value in (point.f1, point.precision, point.recall))
    return f"| {name} | {point.threshold:.4f} | {shares} |"


def _digits(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3f}"
