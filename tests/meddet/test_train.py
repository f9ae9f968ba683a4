from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torchvision.ops import box_iou

from meddet.checkpoint import Checkpoints
from meddet.data.batches import Batches
from meddet.data.transforms import cover, draw_change
from meddet.distill.base import Distiller
from meddet.distill.fitnets import FitNets
from meddet.distill.meddet import MedDetDistiller
from meddet.models.detector import Detector, build_detector
from meddet.models.locator import Locator
from meddet.postprocess import detect
from meddet.train import Optimisation, fit_detector, fit_student
from meddet.train_locator import fit_locator
from meddet.training_run import Interruption, Row

OPTIMISATION = Optimisation(
    steps=4,
    learning_rate=0.001,
    weight_decay=0.05,
    warmup_steps=2,
    clip_norm=10.0,
    precision="32-true",
    checkpoint_steps=2,
)


def detector(seed: int = 0) -> Detector:
    torch.manual_seed(seed)
    built = build_detector(
        backbone="mobilenet_v2", channels=32, num_classes=2, ode="nmode2", solver="fast", ode_steps=4
    )
    built.head.set_initial_size(23.0, 7.0)
    return built


def medded(teachers: list[Detector]) -> MedDetDistiller:
    torch.manual_seed(1)
    return MedDetDistiller(
        channels=32,
        num_teachers=len(teachers),
        anchor=0,
        anchor_head=teachers[0].head,
        sigma=0.5,
        tau=0.4,
        scale=2.0,
        adversarial_warmup_steps=1,
        anchor_weight=1.0,
        gate="sigmoid",
        start="anchor",
        octave_scale=8,
    )


def imitating(_: list[Detector]) -> FitNets:
    return FitNets(channels=32, anchor=0, weight=1.0)


METHODS = [(medded, 0.001), (imitating, None)]


def teach(
    batches: Batches,
    folder: Path,
    method: Callable[[list[Detector]], Distiller],
    critic_rate: float | None,
    **options: object,
) -> tuple[Detector, list[Row]]:
    teachers = [detector(seed).eval() for seed in (7, 8)]
    student = detector()
    arguments = {
        "optimisation": OPTIMISATION,
        "critic_learning_rate": critic_rate,
        "octave_scale": 8,
        "checkpoints": Checkpoints(folder),
        "log": lambda *_: None,
        "interrupted": lambda: False,
    } | options
    rows = fit_student(student, teachers, method(teachers), batches, **arguments)
    return student, rows


def stop_after(steps: int) -> Callable[[], bool]:
    asked = iter([False] * (steps - 1) + [True])
    return lambda: next(asked)


def test_a_detector_overfits_one_batch(toy_batches: Batches, tmp_path: Path) -> None:
    """A third of the toy's flat boxes hold no anchor point and can't be learnt; of the others most must be found."""
    still = partial(draw_change, shift=0.0, scale=0.0, gamma=0.0, bias=0.0, blur=0.0, noise=0.0, marks=0.0)
    images = toy_batches.images.where(lambda sample: sample.image_id <= 4)
    one_batch = replace(toy_batches, images=images, draw=still)
    trained = detector()
    rows = fit_detector(
        trained,
        one_batch,
        optimisation=replace(OPTIMISATION, steps=50, learning_rate=0.003, warmup_steps=5, checkpoint_steps=1000),
        octave_scale=8,
        checkpoints=Checkpoints(tmp_path),
        log=lambda *_: None,
        interrupted=lambda: False,
    )
    assert [row["step"] for row in rows] == list(range(1, 51))
    assert sum(row["giou"] for row in rows[-5:]) / 5 < 0.65 * max(row["giou"] for row in rows)
    assert not trained.training
    batch = one_batch.batch(0)
    with torch.no_grad():
        detections = detect(trained(batch.images), input_size=(96, 64), score_threshold=0.05)
    overlaps = [box_iou(t.boxes, d.boxes).amax(1) for t, d in zip(batch.targets, detections, strict=True)]
    assert (torch.cat(overlaps) > 0.5).float().mean() > 0.5


@pytest.mark.parametrize("cut", [1, 3])
def test_a_resumed_detector_is_bitwise_the_uninterrupted_one(toy_batches: Batches, tmp_path: Path, cut: int) -> None:
    def fit(folder: str, interrupted: Callable[[], bool]) -> tuple[Detector, list[Row]]:
        trained = detector()
        checkpoints = Checkpoints(tmp_path / folder)
        rows = fit_detector(
            trained,
            toy_batches,
            optimisation=OPTIMISATION,
            octave_scale=8,
            checkpoints=checkpoints,
            log=lambda *_: None,
            interrupted=interrupted,
        )
        return trained, rows

    whole, whole_rows = fit("whole", lambda: False)
    with pytest.raises(Interruption, match=f"stopped after step {cut}"):
        fit("cut", stop_after(cut))
    resumed, resumed_rows = fit("cut", lambda: False)
    assert resumed_rows == whole_rows
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


@pytest.mark.parametrize(("method", "critic_rate"), METHODS)
def test_a_resumed_student_is_bitwise_the_uninterrupted_one(
    toy_batches: Batches, tmp_path: Path, method, critic_rate
) -> None:
    whole, whole_rows = teach(toy_batches, tmp_path / "whole", method, critic_rate)
    with pytest.raises(Interruption):
        teach(toy_batches, tmp_path / "cut", method, critic_rate, interrupted=stop_after(3))
    resumed, resumed_rows = teach(toy_batches, tmp_path / "cut", method, critic_rate)
    assert resumed_rows == whole_rows
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


@pytest.mark.parametrize(("method", "critic_rate"), METHODS)
def test_teachers_stay_as_they_were(toy_batches: Batches, tmp_path: Path, method, critic_rate) -> None:
    teachers = [detector(seed).eval() for seed in (7, 8)]
    before = [{name: tensor.clone() for name, tensor in teacher.state_dict().items()} for teacher in teachers]
    fit_student(
        detector(),
        teachers,
        method(teachers),
        toy_batches,
        optimisation=OPTIMISATION,
        critic_learning_rate=critic_rate,
        octave_scale=8,
        checkpoints=Checkpoints(tmp_path),
        log=lambda *_: None,
        interrupted=lambda: False,
    )
    for teacher, state in zip(teachers, before, strict=True):
        assert all(torch.equal(tensor, state[name]) for name, tensor in teacher.state_dict().items())


def test_every_term_is_logged(toy_batches: Batches, tmp_path: Path) -> None:
    _, rows = teach(toy_batches, tmp_path, medded, 0.001)
    expected = {"step", "loss", "qfl", "dfl", "giou", "dist", "adv", "anchor", "critic", "target_variance"}
    expected |= {"real_accuracy", "fake_accuracy", "share_0", "share_1", "distance_p3", "distance_p7"}
    assert all(expected <= set(row) for row in rows)


def test_a_loss_that_is_not_finite_names_term_step_and_images(toy_batches: Batches, tmp_path: Path) -> None:
    broken = detector()
    with torch.no_grad():
        next(broken.head.parameters()).fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"loss term \w+ is nan at step 1 on images \d, \d, \d, \d"):
        fit_detector(
            broken,
            toy_batches,
            optimisation=OPTIMISATION,
            octave_scale=8,
            checkpoints=Checkpoints(tmp_path),
            log=lambda *_: None,
            interrupted=lambda: False,
        )


def locating(
    batches: Batches, folder: Path, *, steps: int, interrupted: Callable[[], bool]
) -> tuple[Locator, list[Row]]:
    images = batches.images
    whole = replace(images, regions=tuple(cover(s.width, s.height, aspect=1.0) for s in images.samples))
    torch.manual_seed(0)
    locator = Locator(8)
    rows = fit_locator(
        locator,
        replace(batches, images=whole, size=(64, 64)),
        steps=steps,
        learning_rate=0.003,
        checkpoint_steps=2,
        checkpoints=Checkpoints(folder),
        log=lambda *_: None,
        interrupted=interrupted,
    )
    return locator, rows


def test_the_locator_learns_where_the_column_is(toy_batches: Batches, tmp_path: Path) -> None:
    _, rows = locating(toy_batches, tmp_path, steps=60, interrupted=lambda: False)
    assert sum(row["distance"] for row in rows[-5:]) < 0.3 * sum(row["distance"] for row in rows[:5])


def test_a_resumed_locator_is_bitwise_the_uninterrupted_one(toy_batches: Batches, tmp_path: Path) -> None:
    whole, whole_rows = locating(toy_batches, tmp_path / "whole", steps=6, interrupted=lambda: False)
    with pytest.raises(Interruption, match="stopped after step 3"):
        locating(toy_batches, tmp_path / "cut", steps=6, interrupted=stop_after(3))
    resumed, resumed_rows = locating(toy_batches, tmp_path / "cut", steps=6, interrupted=lambda: False)
    assert resumed_rows == whole_rows
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_a_resumed_training_goes_on_in_the_same_random_state(toy_batches: Batches, tmp_path: Path) -> None:
    def drawing(drawn: list[float], stop: Callable[[], bool]) -> Callable[[], bool]:
        return lambda: drawn.append(torch.rand(1).item()) or stop()

    whole, parts = [], []
    locating(toy_batches, tmp_path / "whole", steps=6, interrupted=drawing(whole, lambda: False))
    with pytest.raises(Interruption):
        locating(toy_batches, tmp_path / "cut", steps=6, interrupted=drawing(parts, stop_after(3)))
    locating(toy_batches, tmp_path / "cut", steps=6, interrupted=drawing(parts, lambda: False))
    assert parts == whole
    assert len(set(whole)) == 6


def test_fault_07_discriminators_that_have_won_stop_the_training(toy_batches: Batches, tmp_path: Path) -> None:
    """Steps of the adversarial warm-up don't count; the last checkpoint stays, and going on from it ends the same."""

    class Won(MedDetDistiller):
        def critic_losses(self, *seen: object) -> dict[str, torch.Tensor]:
            return {"critic": 0.001 * super().critic_losses(*seen)["critic"]}

    def won(teachers: list[Detector]) -> MedDetDistiller:
        distiller = medded(teachers)
        distiller.__class__ = Won
        return distiller

    small = replace(toy_batches, size=(32, 32), batch_size=2)
    longer = replace(OPTIMISATION, steps=60, checkpoint_steps=40)
    line = r"loss term critic is 0\.00\d+, below 0\.0693 for 50 steps: .*; at step 51 on images \d, \d$"
    for _ in range(2):
        with pytest.raises(FloatingPointError, match=line):
            teach(small, tmp_path, won, 1e-6, optimisation=longer)
        assert [path.name for path in tmp_path.glob("*.pt")] == ["step_00000040.pt"]


def test_a_sound_critic_is_no_fault() -> None:
    distiller = medded([detector(7)])
    sound = [{"adv": 0.3, "critic": 6.9}] * 100
    beaten = [{"adv": 0.3, "critic": 0.01}]
    assert distiller.fault(sound) is None
    assert distiller.fault(sound + 49 * beaten) is None
    assert distiller.fault([{"adv": 0.0, "critic": 0.01}] + 49 * beaten) is None
    assert distiller.fault(sound + 50 * beaten) is not None
