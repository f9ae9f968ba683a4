"""params.yaml as frozen, typed sections, one per stage. No number has its default here."""

from pathlib import Path
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Teacher = Literal["resnet50", "resnet101", "resnet152"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of params.yaml: read-only, and a key that it doesn't know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Guard(Section):
    """What one image file may cost."""

    seconds: Positive
    """Wall clock for reading it."""
    memory_mb: Count
    """Memory on top of the loaded libraries, in MB."""


class Boxes(Section):
    """What becomes of faulty annotations. Each one touched is listed in artifacts/tables/repairs.csv."""

    max_share: Fraction
    """Largest share of a file's boxes (or images) that may be touched before the stage fails."""
    outside: Literal["repair", "reject"]
    """A box that reaches out of the image: clip it, or leave it out."""
    min_visible: Fraction
    """Least share of such a box's area inside the image; less is left out whatever the rule."""
    negative_sides: Literal["repair", "reject"]
    """Negative width or height: the same box from its other corner if that is in the image, or left out."""
    corners: Literal["repair", "reject"]
    """x1, y1, x2, y2 where x, y, width, height belong: of unusual size as it stands, of usual size as corners."""
    swapped: Literal["repair", "reject"]
    """x and y swapped: unusual in size or place as it stands, usual after swapping."""
    ids: Literal["repair", "reject"]
    """Annotation ids that are given twice, 0 or no number: give a new one, or leave the box out."""


class Identity(Section):
    """What becomes of images that may name a person."""

    tags: Literal["refuse", "repair"]
    """Identifying elements in a DICOM header: fail, or go on with the pixels alone and count the tags by name."""
    text: Literal["refuse", "leave-out"]
    """Text burned into the pixels, seen or declared: fail, or go on without the image."""


class Raters(Section):
    """How several raters' files become the reference of images that annotations.json has no boxes for."""

    rule: Literal["majority", "any", "all"]
    """How many of the raters who drew a disc must call it a protrusion."""
    min_raters: Count
    """Least raters who must have read an image, and have drawn a disc, for it to count."""
    match_iou: Fraction
    """Least IoU of two raters' boxes of one disc, where they name no level."""
    tie: Literal["protrusion", "non-protrusion", "adjudicate"]
    """What an even vote gives; adjudicate leaves the image out until somebody has decided."""


class Ingest(Section):
    """How files become canonical images."""

    percentiles: tuple[Annotated[float, Field(ge=0, lt=50)], Annotated[float, Field(gt=50, le=100)]]
    """Percentiles of the whole image that become 0 and 1 where the file names no window."""
    max_pixels: Count
    """Largest accepted rows x columns; a larger file is refused before decoding."""
    max_unreadable: Annotated[int, Field(ge=0)]
    """Most image files that may be left out because they can't be read."""
    guard: Guard
    """Limits of the processes that read image files."""
    boxes: Boxes
    """Rules for faulty annotations."""
    identity: Identity
    """Rules for what may name a person."""
    raters: Raters
    """Rules for several raters."""


class Validate(Section):
    """What the expectations on the tables allow."""

    images_per_patient: tuple[Count, Count]
    """Fewest and most images of one patient."""
    age_years: tuple[float, float]
    """Youngest and oldest accepted age."""
    box_side_fraction: tuple[Fraction, Fraction]
    """Smallest and largest box side, as a fraction of the image's side."""
    boxes_per_image: tuple[Annotated[int, Field(ge=0)], Count]
    """Fewest and most boxes of one image."""
    duplicates: Literal["group", "refuse"]
    """Patients who share a study, an instance or a picture: keep them in one part, or fail."""
    likeness: Fraction
    """Correlation of two registered images' details from which they show the same."""


class Split(Section):
    """How patients are divided; those of one group stay together."""

    seed: int
    """Seed of the shuffle within strata."""
    test_fraction: Fraction
    """Share of patients in the test part (183 of 914 is 0.2)."""
    validation_fraction: Fraction
    """Share of the remaining patients in the validation part."""


class DataPage(Section):
    """What the data page shows."""

    thumbnails: Count
    """Images shown, each of another patient."""


class View(Section):
    """The detector's input: the region of the cervical column, resampled."""

    height: Annotated[int, Field(ge=32, multiple_of=8)]
    """Input height in pixels."""
    width: Annotated[int, Field(ge=32, multiple_of=8)]
    """Input width in pixels."""
    margin: Positive
    """Region height in column heights (C2/3 to C7/T1, centre to centre).

    A region is never larger than the one that covers the image, so a large margin means the whole image."""


class Augment(Section):
    """Random changes of a training view."""

    shift: Annotated[float, Field(ge=0, le=0.5)]
    """Largest shift of the region, as a fraction of its size."""
    scale: Annotated[float, Field(ge=0, le=0.5)]
    """Largest relative change of the region's size."""
    gamma: Annotated[float, Field(ge=0, le=1)]
    """Largest |ln gamma| of the intensities."""
    bias: Annotated[float, Field(ge=0, le=1)]
    """Largest |ln gain| at an edge of the view, of a gain that varies along each axis."""
    blur: Annotated[float, Field(ge=0, le=2)]
    """Largest standard deviation of a blur, or of the blur that a sharpening undoes, in pixels of the view."""
    noise: Annotated[float, Field(ge=0, le=1)]
    """Largest standard deviation of added noise, in standard deviations of the view."""
    marks: Fraction
    """Share of images that get a workstation's writing at their edges."""


class Locate(Section):
    """Training of the locator, the small network that finds the column."""

    seed: int
    """Seed of initial weights, order and augmentation."""
    size: Annotated[int, Field(ge=32, multiple_of=16)]
    """Side of the locator's square input in pixels."""
    width: Count
    """Channels of its first layer."""
    steps: Count
    """Optimiser steps."""
    batch_size: Count
    """Images per step."""
    learning_rate: Positive
    """Peak learning rate of AdamW."""
    zoom: Annotated[float, Field(ge=1.2)]
    """Height of its second look, in the column heights that the first look found."""
    checkpoint_steps: Count
    """Steps between checkpoints."""
    augment: Augment
    """Random changes of its training views."""


class Model(Section):
    """What student and teachers share."""

    channels: Annotated[int, Field(ge=32, multiple_of=32)]
    """Channels of neck and head (paper: 256)."""
    ode: Literal["nmode2", "nmode", "none"]
    """Equation after the last tower convolution; none leaves the towers plain."""
    solver: Literal["fast", "rk4", "heun", "euler"]
    """How y(1) is computed; fast is the table, the others integrate."""
    ode_steps: Count
    """Steps of an integrating solver, from t = 0 to 1."""
    octave_scale: Count
    """Side of the square anchors used in assignment, in strides."""


class Schedule(Section):
    """One training: AdamW, linear warm-up, cosine to zero."""

    seed: int
    """Seed of initial weights, order and augmentation."""
    steps: Count
    """Optimiser steps."""
    batch_size: Count
    """Views per step."""
    learning_rate: Positive
    """Peak learning rate."""
    weight_decay: Annotated[float, Field(ge=0)]
    """Decoupled weight decay of parameters with more than one dimension."""
    warmup_steps: Annotated[int, Field(ge=0)]
    """Steps of linear warm-up."""
    clip_norm: Positive
    """Largest norm of the gradient."""
    precision: Literal["32-true", "bf16-mixed"]
    """Arithmetic of the convolutions; losses are float32 either way."""
    checkpoint_steps: Count
    """Steps between checkpoints."""


class MedDetMethod(Section):
    """AFA, LWFF and AATM (arXiv:2409.00204, eq. 14)."""

    name: Literal["meddet"]
    """The paper's method."""
    sigma: Fraction
    """Weight of the detection loss in eq. 14."""
    tau: Fraction
    """Weight of the feature loss; the adversarial loss has 1 - sigma - tau."""
    scale: Positive
    """Common factor of eq. 14, so that the detection loss keeps its size: scale * sigma = 1."""
    adversarial_warmup_steps: Annotated[int, Field(ge=0)]
    """Steps before the adversarial loss counts."""
    critic_learning_rate: Positive
    """Learning rate of the discriminators' own AdamW."""
    anchor: Teacher
    """Teacher whose frozen head judges the fused target."""
    anchor_weight: Annotated[float, Field(ge=0)]
    """Weight of the task anchor's GFL loss, which trains AFA of the teachers and LWFF only."""
    anchor_interval: Count
    """Steps from one pass through the task anchor to the next; it costs half a student step."""
    gate: Literal["sigmoid", "linear", "softmax"]
    """LWFF's gate: 2*sigmoid (1 at the start), linear as printed, softmax over teachers."""
    start: Literal["anchor", "mean"]
    """What the fused target is at step 0: the anchor teacher's features, or the teachers' mean."""


class FitNetsMethod(Section):
    """Feature imitation (arXiv:1412.6550): mean squared error to the anchor teacher's levels."""

    name: Literal["fitnets"]
    """Plain feature imitation."""
    weight: Positive
    """Weight of the feature loss."""
    anchor: Teacher
    """Teacher that is imitated."""


Method = Annotated[MedDetMethod | FitNetsMethod, Field(discriminator="name")]


class Distill(Section):
    """The student's training with teachers."""

    schedule: Schedule
    """Optimisation of the student."""
    method: Method
    """What is learnt from the teachers."""
    inherit: Literal["nothing", "anchor"]
    """What the student's neck and head start from: fresh weights, or those of the method's anchor teacher."""


class Detect(Section):
    """From predictions to detections (methods.md 1.7)."""

    score_threshold: Fraction
    """Least score of a detection that is evaluated."""
    nms_iou: Fraction
    """IoU above which the lower of two boxes of one class goes."""
    max_detections: Count
    """Most detections of one image."""


class Drift(Section):
    """When new studies count as unlike those that the model was made from; chosen by benchmarks/drift.py."""

    window: Annotated[int, Field(ge=10, le=1000)]
    """Newest studies that are compared with the reference."""
    least: Annotated[int, Field(ge=10, le=1000)]
    """Studies from which on they are compared."""
    p_value: Fraction
    """Largest p of the Kolmogorov-Smirnov test, multiplied by the number of features, that is drift."""
    psi: Positive
    """Least population stability index that is drift."""
    bins: Annotated[int, Field(ge=2, le=20)]
    """Bins of equal share of the reference, over which the index sums, beside the two beyond its range."""

    @model_validator(mode="after")
    def _window_reaches(self) -> "Drift":
        if self.least > self.window:
            raise ValueError(f"expected least to be at most window ({self.window}), got {self.least}")
        return self


class Package(Section):
    """What makes a bundle fit to leave, and when new studies no longer fit it."""

    box_tolerance_px: Positive
    """Largest accepted difference of ONNX and torch boxes, in input pixels."""
    score_tolerance: Positive
    """Largest accepted difference of ONNX and torch scores."""
    conformal_alpha: Annotated[float, Field(gt=0, lt=1)]
    """Largest expected share of a patient's protrusions missed at the conformal threshold."""
    drift: Drift
    """Rule of the drift monitor."""


class Evaluate(Section):
    """What the evaluation shows."""

    gallery_images: Count
    """Best and as many worst test images in the gallery."""


class Robustness(Section):
    """Which spoilt images the models are shown (meddet/evaluate/corruptions.py)."""

    images: Count | Literal["all"]
    """Test images, first one of every k-th patient; or all."""
    severities: Annotated[list[Annotated[int, Field(ge=1, le=5)]], Field(min_length=1)]
    """Severities of each corruption: 1 is barely seen, 5 is sent back by a radiologist."""
    seed: Annotated[int, Field(ge=0)]
    """Seed of the corruptions, with which each image's are always the same."""

    @model_validator(mode="after")
    def _each_once(self) -> "Robustness":
        if len(set(self.severities)) < len(self.severities):
            raise ValueError(f"severities: expected each once, got {self.severities}")
        return self


class Benchmark(Section):
    """How latency is measured."""

    warmup: Count
    """Unmeasured runs of each contender."""
    repetitions: Count
    """Measured rounds with all threads; every contender runs once in a round."""
    one_thread_repetitions: Count
    """Measured rounds with one thread."""
    threads: Count | Literal["all"]
    """Of torch, ONNX Runtime and OpenVINO, besides one; all: as many as there are cores."""
    parity_images: Count | Literal["all"]
    """Test images on which the engines are compared with torch, spread evenly; or all."""
    ap_tolerance: Fraction
    """Largest accepted difference of AP50 on these images between an engine in float32 and torch."""
    bfloat16_ap_tolerance: Fraction
    """The same of torch in bfloat16."""


class Report(Section):
    """What the report page may be."""

    megabytes: Count
    """Largest size of the file; the gallery's pictures are made to fit."""


class Machine(Section):
    """What a training stage runs on: `devices` processes on each of `num_nodes` machines share its batches.

    It is no part of a result's identity, and no stage in dvc.yaml lists it. GPUs are joined by NCCL, CPUs by gloo. The
    batch size must be a multiple of the number of processes.

    On several nodes, DVC runs on the first one. On every other one, in a checkout with the same files (`dvc pull`), the
    same command is started by hand or by the scheduler, such as `python -m pipeline.distill`. All of them have
    MASTER_ADDR and MASTER_PORT (a free port of the first node) and their NODE_RANK (from 0) in the environment, as
    torchrun has. The first node keeps the checkpoints and writes the results.
    """

    devices: Count
    """GPUs of each machine that take part; processes where there are no GPUs."""
    num_nodes: Count
    """Machines."""


Whole = TypeVar("Whole", bound=Section)


class Params(Section):
    """The whole of params.yaml."""

    machine: Machine
    """Shared by the training stages pretrain, baseline and distill."""

    teachers: Annotated[list[Teacher], Field(min_length=1)]
    """Teachers to pretrain and to learn from, smallest first."""
    ingest: Ingest
    """Stage ingest."""
    validate_: Annotated[Validate, Field(alias="validate")]
    """Stage validate."""
    split: Split
    """Stage split."""
    data_page: DataPage
    """Stage data_page."""
    view: View
    """Shared by every stage that looks at images."""
    locate: Locate
    """Stage locate."""
    model: Model
    """Shared by student and teachers."""
    augment: Augment
    """Shared by pretrain, baseline and distill."""
    pretrain: dict[Teacher, Schedule]
    """Stage pretrain, by teacher."""
    baseline: Schedule
    """Stage baseline."""
    distill: Distill
    """Stage distill."""
    detect: Detect
    """Shared by package, evaluate, robustness and benchmark."""
    package: Package
    """Stage package."""
    evaluate: Evaluate
    """Stage evaluate."""
    robustness: Robustness
    """Stage robustness."""
    benchmark: Benchmark
    """Stage benchmark."""
    report: Report
    """Stage report."""


def load_params(path: Path) -> Params:
    """Read and check params.yaml.

    Errors:
        ValueError: one line that names the file, the key, what was expected and what came.
    """
    return load_section(path, Params, what="a parameter file")


def load_section(path: Path, kind: type[Whole], *, what: str) -> Whole:
    """Read and check a YAML file whose whole is one section.

    Args:
        path: of the file.
        kind: what it must be.
        what: the file in words.

    Errors:
        ValueError: one line that names the file, the key, what was expected and what came.
    """
    try:
        return kind.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ValueError(f"{path}: expected {what}, found none; run from the project's root") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected YAML, got {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ValueError(f"{path}: {key}: {first['msg']}, got {repr(first['input'])[:100]}{more}") from None
