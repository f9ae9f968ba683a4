import pytest
import torch
from torch import nn

from meddet.boxes import integral
from meddet.models.gfl_head import GFLHead, peaked_logits
from meddet.models.nmode import NmODE

SIZES = [(8, 6), (4, 3), (2, 2), (1, 1), (1, 1)]


def levels(channels: int = 32, batch: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, channels, *size, generator=generator) for size in SIZES]


@pytest.mark.parametrize("activation", [None, lambda: NmODE("nmode2", "fast")])
def test_parameters_of_the_paper(activation: object) -> None:
    with torch.device("meta"):
        head = GFLHead(2, 256, activation=activation)
    assert sum(parameter.numel() for parameter in head.parameters()) == 8 * 590_336 + 4_610 + 156_740 + 5


def test_shapes_and_points() -> None:
    predictions = GFLHead(3, 32, activation=None)(levels())
    rows = sum(height * width for height, width in SIZES)
    assert predictions.logits.shape == (2, rows, 3)
    assert predictions.distributions.shape == (2, rows, 4, 17)
    assert predictions.points[:8].tolist() == [[0, 0], [8, 0], [16, 0], [24, 0], [32, 0], [40, 0], [0, 8], [8, 8]]
    assert predictions.strides.unique(return_counts=True)[0].tolist() == [8, 16, 32, 64, 128]


def test_rows_are_the_cells_and_sides_are_left_top_right_bottom() -> None:
    head = GFLHead(2, 32, activation=None)
    features = levels()
    predictions = head(features)
    raw = head.reg(head.reg_tower(features[0]))
    cell = predictions.points[: 8 * 6].tolist().index([3 * 8, 5 * 8])
    for side in range(4):
        torch.testing.assert_close(predictions.distributions[1, cell, side], raw[1, side * 17 : side * 17 + 17, 5, 3])
    torch.testing.assert_close(predictions.logits[1, cell], head.cls(head.cls_tower(features[0]))[1, :, 5, 3])


def test_a_level_scale_touches_its_level_only() -> None:
    head = GFLHead(2, 32, activation=None)
    before = head(levels()).distributions
    nn.init.constant_(head.scales[1].factor, 2.0)
    after = head(levels()).distributions
    torch.testing.assert_close(after[:, 48:60], 2 * before[:, 48:60])
    assert torch.equal(after[:, :48], before[:, :48])
    assert torch.equal(after[:, 60:], before[:, 60:])


def test_first_scores_are_the_prior() -> None:
    head = GFLHead(2, 32, activation=None, prior=0.05)
    nn.init.zeros_(head.cls.weight)
    scores = head(levels()).logits.sigmoid()
    torch.testing.assert_close(scores, torch.full_like(scores, 0.05))


def test_uniform_start_reaches_eight_strides() -> None:
    head = GFLHead(2, 32, activation=None)
    nn.init.zeros_(head.reg.weight)
    distances = integral(head(levels()).distributions)
    torch.testing.assert_close(distances, torch.full_like(distances, 8.0))


@pytest.mark.parametrize(("width", "height"), [(24.0, 10.0), (3.0, 200.0), (16.0, 16.0)])
def test_first_boxes_have_the_given_size(width: float, height: float) -> None:
    head = GFLHead(2, 32, activation=None)
    head.set_initial_size(width, height)
    nn.init.zeros_(head.reg.weight)
    predictions = head(levels())
    finest = integral(predictions.distributions)[:, :48] * 8
    expected = torch.tensor([width / 2, height / 2] * 2).expand_as(finest)
    torch.testing.assert_close(finest, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("mean", [0.1, 0.6, 1.25, 7.3, 15.0])
def test_peaked_logits_keep_every_bin_reachable(mean: float) -> None:
    probabilities = peaked_logits(mean, num_bins=17).softmax(0)
    bins = torch.arange(17, dtype=torch.float64)
    assert float(probabilities @ bins) == pytest.approx(mean, abs=1e-6)
    assert float(probabilities.min()) >= 0.001 / 17 - 1e-9
    assert abs(int(probabilities.argmax()) - mean) <= 1


@pytest.mark.parametrize("side", [0.0, -5.0, 256.0, float("nan")])
def test_impossible_size(side: float) -> None:
    with pytest.raises(ValueError, match="expected a mean distance between"):
        GFLHead(2, 32, activation=None).set_initial_size(side, 16.0)


def test_channels_must_fit_the_groups() -> None:
    with pytest.raises(ValueError, match="multiple of 32, got 48"):
        GFLHead(2, 48, activation=None)


def test_outputs_are_float32_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        predictions = GFLHead(2, 32, activation=lambda: NmODE("nmode2", "fast"))(levels())
    assert predictions.logits.dtype == predictions.distributions.dtype == torch.float32


def test_gradient_reaches_every_parameter_and_the_features() -> None:
    head = GFLHead(2, 32, activation=lambda: NmODE("nmode2", "fast"))
    features = [level.requires_grad_() for level in levels()]
    predictions = head(features)
    (predictions.logits.square().sum() + predictions.distributions.square().sum()).backward()
    for tensor in [*head.parameters(), *features[:3]]:
        assert tensor.grad is not None and float(tensor.grad.abs().sum()) > 0
