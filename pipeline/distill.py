"""Train the student with its teachers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from meddet.config import FitNetsMethod, Method, Params
from pipeline._machine import run
from pipeline._stage import ARTIFACTS, REPORTS

if TYPE_CHECKING:
    from meddet.distill.base import Distiller
    from meddet.models.detector import Detector


def main(params: Params) -> None:
    """Write artifacts/distill and reports/distill/."""
    import torch

    from meddet.distill.inherit import inherit
    from meddet.models.detector import load_detector, save_detector
    from meddet.train import fit_student
    from pipeline import _training as shared

    settings = params.distill
    schedule = settings.schedule
    folders = [ARTIFACTS / "pretrain" / name for name in params.teachers]
    teachers = [load_detector(folder)[0] for folder in folders]
    torch.manual_seed(schedule.seed)
    batches = shared.training_batches(params, schedule)
    student, arguments = shared.new_detector("mobilenet_v2", params, batches.images)
    distiller = build_distiller(settings.method, params, teachers)
    if settings.inherit == "anchor":
        inherit(student, teachers[params.teachers.index(settings.method.anchor)])
    sections = ["teachers", "view", "model", "augment", "distill"]
    inputs = [shared.COCO, shared.SPLIT, shared.REGIONS, shared.IMAGES, *folders]
    with shared.training("distill", params, sections=sections, inputs=inputs) as session:
        rows = fit_student(
            student,
            teachers,
            distiller,
            batches,
            optimisation=shared.optimisation(schedule),
            critic_learning_rate=getattr(settings.method, "critic_learning_rate", None),
            octave_scale=params.model.octave_scale,
            checkpoints=session.checkpoints,
            log=session.log,
            interrupted=session.interrupted,
        )
        if session.writes:
            save_detector(ARTIFACTS / "distill", student, arguments=arguments, input_size=batches.size)
            shared.write_curve(REPORTS / "distill" / "distill.csv", rows)
            shared.write_summary(REPORTS / "distill" / "distill.json", rows)


def build_distiller(method: Method, params: Params, teachers: "Sequence[Detector]") -> "Distiller":
    """Build the method that params.yaml names.

    Errors:
        ValueError: the method's anchor is not among the teachers.
    """
    from meddet.distill.fitnets import FitNets
    from meddet.distill.meddet import MedDetDistiller

    if method.anchor not in params.teachers:
        raise ValueError(
            f"params.yaml: distill.method.anchor: expected one of teachers ({', '.join(params.teachers)}), "
            f"got {method.anchor}"
        )
    anchor = params.teachers.index(method.anchor)
    if isinstance(method, FitNetsMethod):
        return FitNets(channels=params.model.channels, anchor=anchor, weight=method.weight)
    return MedDetDistiller(
        channels=params.model.channels,
        num_teachers=len(teachers),
        anchor=anchor,
        anchor_head=teachers[anchor].head,
        octave_scale=params.model.octave_scale,
        **method.model_dump(exclude={"name", "anchor", "critic_learning_rate"}),
    )


if __name__ == "__main__":
    run(main)
