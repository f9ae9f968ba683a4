import math

import pytest
import torch

from meddet.export_nmode import NearestNmODE, for_export
from meddet.models.detector import build_detector
from meddet.models.nmode import EQUATIONS, NmODE, integrate


@pytest.mark.parametrize("equation", sorted(EQUATIONS))
def test_the_look_up_is_the_solution(equation: str) -> None:
    gamma = torch.linspace(-20, 20, 40_001).reshape(1, 1, -1, 1)
    solved = integrate(gamma.double(), equation=EQUATIONS[equation], solver="rk4", steps=64)
    assert (NearestNmODE(equation)(gamma) - solved).abs().max() < 4e-5


@pytest.mark.parametrize("equation", sorted(EQUATIONS))
def test_the_look_up_has_the_period_pi(equation: str) -> None:
    look_up = NearestNmODE(equation)
    gamma = torch.linspace(-1, 1, 101)
    assert torch.allclose(look_up(gamma + 3 * math.pi), look_up(gamma), atol=6e-5)


def test_no_number_leaves_the_table() -> None:
    wild = torch.tensor([math.nan, math.inf, -math.inf, 3e38, -3e38, -0.0])
    assert torch.isfinite(NearestNmODE("nmode2")(wild)).all()


def arguments(solver: str) -> dict:
    return {"backbone": "mobilenet_v2", "channels": 32, "num_classes": 2, "ode": "nmode2", "solver": solver}


def test_only_the_copy_is_changed_and_hardly() -> None:
    torch.manual_seed(0)
    detector = build_detector(**arguments("fast"), ode_steps=4).eval()
    twin = for_export(detector)
    assert sum(isinstance(module, NmODE) for module in detector.modules()) == 2
    assert sum(isinstance(module, NearestNmODE) for module in twin.modules()) == 2
    assert twin.state_dict().keys() == detector.state_dict().keys()
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert (twin(image).logits - detector(image).logits).abs().max() < 1e-4


def test_an_integrating_solver_is_exported_as_it_is() -> None:
    twin = for_export(build_detector(**arguments("rk4"), ode_steps=2))
    assert [module.solver for module in twin.modules() if isinstance(module, NmODE)] == ["rk4", "rk4"]
