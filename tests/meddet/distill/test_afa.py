"""AFA starts as the identity and pools by the maximum."""

import pytest
import torch

from meddet.distill.afa import AFA


def test_it_starts_as_the_identity() -> None:
    level = torch.randn(2, 8, 5, 3)
    assert torch.equal(AFA(8, 8)(level), level)
    assert torch.equal(AFA(8, 8)(level, (5, 3)), level)


def test_it_changes_the_number_of_channels() -> None:
    level = torch.randn(2, 8, 5, 3)
    assert torch.equal(AFA(8, 4)(level), level[:, :4])


def test_a_larger_map_is_pooled_by_the_maximum() -> None:
    level = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert AFA(1, 1)(level, (2, 2)).tolist() == [[[[5, 7], [13, 15]]]]


def test_a_smaller_map_is_refused() -> None:
    with pytest.raises(AssertionError, match="cannot enlarge"):
        AFA(1, 1)(torch.zeros(1, 1, 2, 2), (4, 4))


def test_the_paper_has_65792_parameters_per_level() -> None:
    assert sum(parameter.numel() for parameter in AFA(256, 256).parameters()) == 65792
