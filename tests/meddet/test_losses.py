"""Known values of the GFL losses, their laws, and batches without boxes."""

import math

import pytest
import torch
from torchvision.ops import generalized_box_iou_loss

from meddet.assign import assign_batch
from meddet.boxes import anchor_points
from meddet.losses import distribution_focal_loss, gfl_losses, quality_focal_loss, unassigned_share
from meddet.structures import STRIDES, Predictions, Target

SIZES = [(16, 12), (8, 6), (4, 3), (2, 2), (1, 1)]


def predict(batch: int, *, seed: int = 0) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    points, strides = anchor_points(SIZES, STRIDES)
    logits = torch.randn(batch, len(points), 2, generator=generator)
    distributions = torch.randn(batch, len(points), 4, 17, generator=generator)
    return Predictions(logits.requires_grad_(), distributions.requires_grad_(), points, strides)


def target(count: int, *, seed: int = 0) -> Target:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(count, 2, generator=generator) * torch.tensor([90.0, 120.0])
    halves = torch.rand(count, 2, generator=generator) * 20 + 8
    labels = torch.randint(0, 2, (count,), generator=generator)
    return Target(torch.cat((centres - halves, centres + halves), dim=1), labels)


def single(predictions: Predictions, image: int) -> Predictions:
    rows = slice(image, image + 1)
    return Predictions(
        predictions.logits[rows], predictions.distributions[rows], predictions.points, predictions.strides
    )


def test_quality_focal_loss_values() -> None:
    loss = quality_focal_loss(torch.zeros(2), torch.tensor([0.8, 0.0]))
    torch.testing.assert_close(loss, torch.tensor([0.0623832, 0.1732868]), rtol=0, atol=1e-7)


def test_the_modulating_factor_has_a_gradient() -> None:
    logit = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    quality = torch.tensor([0.8], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: quality_focal_loss(x, quality), (logit,))


def test_distribution_focal_loss_values() -> None:
    uniform, peaked = torch.zeros(17), torch.zeros(17)
    peaked[1], peaked[2] = 1.0, 2.0
    loss = distribution_focal_loss(torch.stack((uniform, uniform, peaked)), torch.tensor([0.0, 7.4, 1.3]))
    torch.testing.assert_close(loss, torch.tensor([2.8332133, 2.8332133, 1.9231600]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("first", "second", "giou"),
    [([0, 0, 2, 2], [1, 1, 3, 3], -0.0793651), ([0, 0, 1, 1], [2, 2, 3, 3], -0.7777778)],
)
def test_generalised_iou_is_the_one_of_the_paper(first: list[float], second: list[float], giou: float) -> None:
    loss = generalized_box_iou_loss(torch.tensor([first]).float(), torch.tensor([second]).float())
    assert 1 - loss.item() == pytest.approx(giou, abs=1e-6)


def test_one_positive_by_hand() -> None:
    # Uniform distributions decode to 16 x 16 strides round point 4; the box is 1 x 1 there: IoU = GIoU = 1 / 256.
    points, strides = anchor_points([(3, 3)], [8])
    predictions = Predictions(torch.zeros(1, 9, 2), torch.zeros(1, 9, 4, 17), points, strides)
    annotated = Target(torch.tensor([[4.0, 4.0, 12.0, 12.0]]), torch.tensor([1]))
    losses = gfl_losses(predictions, [annotated], octave_scale=1)
    quality = 1 / 256
    # The point's weight is sigmoid(0) = 0.5; the sum of weights is below 1, so the boxes' losses are divided by 1.
    assert losses["giou"].item() == pytest.approx(2 * 0.5 * (1 - quality), rel=1e-5)
    assert losses["dfl"].item() == pytest.approx(0.25 * 0.5 * math.log(17), rel=1e-5)
    positive = math.log(2) * (quality - 0.5) ** 2
    assert losses["qfl"].item() == pytest.approx(17 * 0.1732868 + positive, rel=1e-5)


def test_far_sides_saturate_instead_of_failing() -> None:
    points, strides = anchor_points([(3, 3)], [8])
    predictions = Predictions(torch.zeros(1, 9, 2), torch.zeros(1, 9, 4, 17), points, strides)
    huge = Target(torch.tensor([[-500.0, -500.0, 500.0, 500.0]]), torch.tensor([0]))
    assert all(math.isfinite(loss.item()) for loss in gfl_losses(predictions, [huge], octave_scale=100).values())


def test_each_box_gradient_reaches_only_what_it_should() -> None:
    predictions = predict(1)
    losses = gfl_losses(predictions, [target(4)])
    logits, distributions = predictions.logits, predictions.distributions
    by_class = torch.autograd.grad(losses["qfl"], [logits, distributions], retain_graph=True, allow_unused=True)
    by_box = torch.autograd.grad(losses["giou"] + losses["dfl"], [logits, distributions], allow_unused=True)
    assert by_class[0] is not None
    assert by_class[0].abs().sum() > 0
    assert by_class[1] is None
    assert by_box[0] is None
    assert by_box[1].abs().sum() > 0


def test_unnormalised_quality_loss_of_a_batch_is_the_sum_of_its_images() -> None:
    predictions, targets = predict(3), [target(3, seed=1), target(0), target(5, seed=2)]
    assigned = assign_batch(predictions.points, predictions.strides, targets)
    counts = (assigned >= 0).sum(dim=1).clamp(min=1)
    total = gfl_losses(predictions, targets)["qfl"] * counts.sum()
    parts = [gfl_losses(single(predictions, i), [annotated])["qfl"] * counts[i] for i, annotated in enumerate(targets)]
    torch.testing.assert_close(total, torch.stack(parts).sum())


def test_the_order_of_boxes_does_not_matter() -> None:
    predictions, annotated = predict(1), target(5)
    order = torch.tensor([4, 2, 0, 1, 3])
    shuffled = Target(annotated.boxes[order], annotated.labels[order])
    plain, other = gfl_losses(predictions, [annotated]), gfl_losses(predictions, [shuffled])
    for name in plain:
        torch.testing.assert_close(plain[name], other[name])


@pytest.mark.parametrize("counts", [(0, 0), (0, 3)])
def test_images_without_boxes_give_finite_losses_and_gradients(counts: tuple[int, int]) -> None:
    predictions = predict(2)
    losses = gfl_losses(predictions, [target(count) for count in counts])
    torch.stack(list(losses.values())).sum().backward()
    assert all(math.isfinite(loss.item()) for loss in losses.values())
    assert (losses["giou"].item() == 0) == (sum(counts) == 0)
    for tensor in (predictions.logits, predictions.distributions):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()


def test_autocast_changes_nothing() -> None:
    predictions, annotated = predict(1), [target(4)]
    plain = gfl_losses(predictions, annotated)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = gfl_losses(predictions, annotated)
    assert all(torch.equal(plain[name], cast[name]) for name in plain)


def test_unassigned_share_counts_boxes_without_a_point() -> None:
    predictions = predict(2)
    between = Target(torch.tensor([[9.0, 9.0, 11.0, 11.0]]), torch.tensor([0]))
    aligned = Target(torch.tensor([[20.0, 20.0, 44.0, 44.0]]), torch.tensor([0]))
    assert unassigned_share(predictions, [between, aligned]) == 0.5
    assert unassigned_share(predictions, [target(0), target(0)]) == 0
