"""The contract that every distillation method keeps."""

import math

import torch

from meddet.distill.base import Distiller, Outputs, deviation, named_by_level
from meddet.structures import Target


def test_the_gradient_reaches_the_student_and_not_the_teachers(
    method: Distiller, student: Outputs, teachers: list[Outputs], targets: list[Target]
) -> None:
    for teacher in teachers:
        for level in teacher.features:
            level.requires_grad_()
    losses = method.student_losses(student, teachers, targets)
    without_anchor = [loss for name, loss in losses.items() if name != "anchor"]
    torch.stack(without_anchor).sum().backward()
    for level in student.features:
        assert level.grad is not None
        assert level.grad.abs().sum() > 0
    assert all(level.grad is None for teacher in teachers for level in teacher.features)


def test_losses_are_finite_float32_scalars_also_under_autocast(
    method: Distiller, student: Outputs, teachers: list[Outputs], targets: list[Target]
) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = method.student_losses(student, teachers, targets) | method.critic_losses(student, teachers, targets)
    for loss in losses.values():
        assert loss.dtype == torch.float32
        assert loss.shape == ()
        assert math.isfinite(loss.item())


def test_a_batch_without_boxes_is_fine(method: Distiller, student: Outputs, teachers: list[Outputs]) -> None:
    empty = [Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))] * 3
    losses = method.student_losses(student, teachers, empty)
    torch.stack(list(losses.values())).sum().backward()
    assert all(math.isfinite(loss.item()) for loss in losses.values())
    gradients = [parameter.grad for parameter in method.parameters() if parameter.grad is not None]
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_names_are_the_same_in_every_step(
    method: Distiller, student: Outputs, teachers: list[Outputs], targets: list[Target]
) -> None:
    names = []
    for _ in range(2):
        losses = method.student_losses(student, teachers, targets) | method.critic_losses(student, teachers, targets)
        numbers = method.metrics()
        assert not set(losses) & set(numbers)
        assert all(math.isfinite(number) for number in numbers.values())
        names.append((list(losses), list(numbers)))
    assert names[0] == names[1]


def test_every_parameter_has_one_optimiser(method: Distiller) -> None:
    mine = [id(parameter) for parameter in method.student_parameters()]
    critics = [id(parameter) for parameter in method.critic_parameters()]
    assert sorted(mine + critics) == sorted(id(parameter) for parameter in method.parameters())


def test_deviation_is_a_number_per_map() -> None:
    level = torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1).requires_grad_()
    assert deviation(level).item() == 1
    assert not deviation(level).requires_grad
    assert deviation(torch.ones(1, 2, 3, 3)).item() > 0


def test_levels_are_named_from_p3() -> None:
    assert named_by_level("distance", torch.tensor([1.0, 2.0])) == {"distance_p3": 1, "distance_p4": 2}
