"""MedDet's own promises: where each loss sends its gradient, how T starts, and that T doesn't collapse."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from meddet.distill.base import Outputs
from meddet.distill.meddet import MedDetDistiller
from meddet.models.gfl_head import GFLHead
from meddet.structures import Target

Make = Callable[..., MedDetDistiller]


def touched(module: nn.Module) -> set[str]:
    """Name the parts of a distiller that hold a gradient other than zero."""
    named = module.named_parameters()
    return {name.split(".")[0] for name, parameter in named if parameter.grad is not None and parameter.grad.any()}


def sizes(outputs: Outputs) -> list[torch.Size]:
    return [level.shape[-2:] for level in outputs.features]


def test_the_target_starts_as_the_anchor_teacher(make_meddet: Make, student: Outputs, teachers: list[Outputs]) -> None:
    fused, shares = make_meddet(anchor=2).fused_target(teachers, sizes(student))
    assert all(torch.equal(level, own) for level, own in zip(fused, teachers[2].features, strict=True))
    assert shares.tolist() == [0, 0, 1]


def test_larger_teacher_maps_are_pooled_to_the_student(make_meddet: Make, student: Outputs) -> None:
    large = Outputs(tuple(level.detach().repeat(1, 1, 2, 2) for level in student.features), None)
    fused, _ = make_meddet(num_teachers=1, anchor=0).fused_target([large], sizes(student))
    assert [level.shape for level in fused] == [level.shape for level in student.features]


@pytest.mark.parametrize(
    ("name", "parts"),
    [("dist", {"align_student", "aatm"}), ("adv", {"align_student", "aatm"}), ("anchor", {"targets"})],
)
def test_each_loss_trains_its_own_part(
    make_meddet: Make,
    head: GFLHead,
    student: Outputs,
    teachers: list[Outputs],
    targets: list[Target],
    name: str,
    parts: set[str],
) -> None:
    method = make_meddet()
    method.student_losses(student, teachers, targets)[name].backward()
    assert touched(method) == parts
    assert all(parameter.grad is None for parameter in method.critic_parameters())
    assert all(parameter.grad is None for parameter in head.parameters())
    reaches_student = [level.grad is not None for level in student.features]
    assert set(reaches_student) == {name != "anchor"}


def test_the_critic_loss_trains_only_discriminators(
    make_meddet: Make, student: Outputs, teachers: list[Outputs], targets: list[Target]
) -> None:
    method = make_meddet()
    method.student_losses(student, teachers, targets)
    method.critic_losses(student, teachers, targets)["critic"].backward()
    assert all(parameter.grad is not None for parameter in method.critic_parameters())
    assert all(parameter.grad is None for parameter in method.student_parameters())
    assert all(level.grad is None for level in student.features)


def test_the_head_stays_the_teachers(make_meddet: Make, head: GFLHead) -> None:
    method = make_meddet()
    mine = {id(parameter) for parameter in method.parameters()}
    assert not mine & {id(parameter) for parameter in head.parameters()}
    assert not any("head" in name for name in method.state_dict())


def test_the_weights_are_those_of_equation_14(
    make_meddet: Make, student: Outputs, teachers: list[Outputs], targets: list[Target]
) -> None:
    method = make_meddet(sigma=0.25, tau=0.5, scale=4.0)
    losses = method.student_losses(student, teachers, targets)
    method.critic_losses(student, teachers, targets)
    numbers = method.metrics()
    assert method.detection_weight == 1.0
    distance = sum(numbers[f"distance_p{level}"] for level in range(3, 8))
    assert losses["dist"].item() == pytest.approx(2 * distance, rel=1e-5)
    assert losses["adv"].item() == pytest.approx(numbers["adversarial"], rel=1e-5)


def test_more_than_the_whole_is_refused(make_meddet: Make) -> None:
    with pytest.raises(ValueError, match=r"expected sigma \+ tau to be at most 1, got 0.7 \+ 0.4"):
        make_meddet(sigma=0.7)


def test_the_adversarial_loss_waits_and_the_count_survives_a_checkpoint(
    make_meddet: Make, student: Outputs, teachers: list[Outputs], targets: list[Target]
) -> None:
    method = make_meddet(adversarial_warmup_steps=2)
    early = [method.student_losses(student, teachers, targets)["adv"].item() for _ in range(2)]
    resumed = make_meddet(adversarial_warmup_steps=2)
    resumed.load_state_dict(method.state_dict())
    assert early == [0, 0]
    assert resumed.student_losses(student, teachers, targets)["adv"].item() > 0


def test_the_anchor_comes_at_its_interval(
    make_meddet: Make, student: Outputs, teachers: list[Outputs], targets: list[Target]
) -> None:
    method = make_meddet(anchor_interval=2)
    anchors = [method.student_losses(student, teachers, targets)["anchor"] for _ in range(4)]
    assert [anchor.item() > 0 for anchor in anchors] == [True, False, True, False]
    never = make_meddet(anchor_weight=0.0)
    assert never.student_losses(student, teachers, targets)["anchor"].item() == 0


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_the_feature_loss_does_not_depend_on_the_teachers_scale(
    make_meddet: Make, student: Outputs, teachers: list[Outputs], targets: list[Target], scale: float
) -> None:
    scaled = [Outputs(tuple(scale * level for level in teacher.features), None) for teacher in teachers]
    plain = make_meddet(anchor_weight=0.0).student_losses(student, teachers, targets)["dist"]
    other = make_meddet(anchor_weight=0.0).student_losses(student, scaled, targets)["dist"]
    torch.testing.assert_close(plain, other)


def test_an_overfit_batch_does_not_collapse_the_target(
    make_meddet: Make, teachers: list[Outputs], targets: list[Target]
) -> None:
    method = make_meddet()
    torch.manual_seed(0)
    learnt = nn.ParameterList(torch.randn_like(level) for level in teachers[0].features)
    optimiser = torch.optim.AdamW([*learnt, *method.student_parameters()], lr=0.003)
    critic = torch.optim.AdamW(method.critic_parameters(), lr=0.003)
    history = []
    for _ in range(40):
        student = Outputs(tuple(learnt), None)
        losses = method.student_losses(student, teachers, targets)
        optimiser.zero_grad()
        total(losses).backward()
        optimiser.step()
        critic.zero_grad()
        total(method.critic_losses(student, teachers, targets)).backward()
        critic.step()
        history.append({name: loss.item() for name, loss in losses.items()} | method.metrics())
    first, last = history[0], history[-1]
    assert last["target_variance"] > 0.5 * first["target_variance"]
    assert last["dist"] < 0.5 * first["dist"]
    assert last["anchor"] < 0.95 * first["anchor"]
    assert first["share_0"] == 0
    assert last["share_0"] > 0


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()
