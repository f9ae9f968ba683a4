import pytest
import torch
from torch import nn

from meddet.cost import cost, cost_table

ROWS = {
    "student": (10_419_531, 31.550, 31.688),
    "resnet50": (32_260_747, 52.135, 52.343),
    "resnet101": (51_252_875, 71.530, 71.817),
    "resnet152": (66_896_523, 90.924, 91.311),
}


def test_the_paper_preset() -> None:
    rows = {row["name"]: row for row in cost_table(channels=256, num_classes=2, size=(512, 512))}
    assert set(rows) == set(ROWS)
    for name, (parameters, gmac, gflops) in ROWS.items():
        assert rows[name]["parameters"] == parameters
        assert rows[name]["gmac"] == pytest.approx(gmac, abs=0.001)
        assert rows[name]["gflops_mmcv"] == pytest.approx(gflops, abs=0.001)
    assert f"{rows['student']['gflops_mmcv']:.2f}" == "31.69"


@pytest.mark.parametrize(("num_classes", "gflops"), [(1, 31.676), (3, 31.701), (80, 32.669)])
def test_other_class_counts(num_classes: int, gflops: float) -> None:
    student = cost_table(channels=256, num_classes=num_classes, size=(512, 512))[0]
    assert student["gflops_mmcv"] == pytest.approx(gflops, abs=0.001)


def test_by_hand() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Flatten(),
        nn.Linear(8 * 4, 5),
    )
    counted = cost(model, (4, 4))
    assert counted.parameters == 216 + 16 + 80 + 165
    macs = 16 * 8 * 27 + 4 * 8 * 9 + 32 * 5
    assert counted.gmac == pytest.approx(macs / 1e9)
    assert counted.gflops_mmcv == pytest.approx((macs + 2 * 128 + 128 + 128 + 32 + 5) / 1e9)


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    cost(model, (8, 8))
    assert model.training and model[0].weight.device == torch.device("cpu")
    assert not model[0]._forward_hooks
