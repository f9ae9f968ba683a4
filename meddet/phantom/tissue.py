"""How bright each tissue is, relative to CSF: the spin-echo equation where relaxation is known, ranges elsewhere."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

_RELAXATION = {
    "csf": (4273.0, 1578.0, 107.5),
    "cord": (780.0, 102.0, 58.7),
    "disc_normal": (1165.0, 102.0, 78.9),
    "disc_middle": (723.0, 67.0, 60.8),
    "disc_dry": (554.0, 56.0, 47.6),
    "marrow": (515.0, 101.0, 91.1),
}
"""T1 ms, T2 ms, proton density (PMC7410772)."""
_RANGES = {
    "fat": (1.0, 1.45),
    "muscle": (0.14, 0.22),
    "tongue": (0.24, 0.32),
    "soft": (0.26, 0.38),
    "gland": (0.3, 0.42),
    "mucosa": (0.45, 0.7),
    "grey": (0.42, 0.48),
    "white": (0.35, 0.4),
    "annulus": (0.06, 0.13),
    "cap": (0.08, 0.18),
    "ligament": (0.02, 0.04),
    "cortex": (0.01, 0.03),
    "interspinous": (0.2, 0.34),
}


@dataclass(frozen=True)
class Tissue:
    """Signals of one patient's tissues relative to CSF, and the protocol that gives them."""

    repetition_ms: float
    echo_ms: float
    signal: dict[str, float]

    def __getitem__(self, name: str) -> float:
        """Give the signal of a tissue."""
        return self.signal[name]

    def nucleus(self, degeneration: float) -> float:
        """Give the signal of a disc's core: normal, intermediate, desiccated."""
        values = [self["disc_normal"], self["disc_middle"], self["disc_dry"]]
        return float(np.interp(degeneration, [0.0, 0.5, 1.0], values))


def spin_echo(
    repetition_ms: float | int, echo_ms: float | int, relaxation: Float[ndarray, "n 3"]
) -> Float[ndarray, " n"]:
    """Give S = PD (1 - exp(-TR/T1)) exp(-TE/T2) for rows of T1, T2, PD."""
    t1, t2, density = relaxation.T
    return density * (1 - np.exp(-repetition_ms / t1)) * np.exp(-echo_ms / t2)


def draw_tissue(rng: np.random.Generator) -> Tissue:
    """Draw protocol and tissue: TR 2500-4500 ms, TE 85-120 ms, relaxations with 6 % log-normal jitter."""
    repetition, echo = float(rng.uniform(2500, 4500)), float(rng.uniform(85, 120))
    relaxation = np.array(list(_RELAXATION.values())) * np.exp(rng.normal(0, 0.06, (len(_RELAXATION), 3)))
    values = spin_echo(repetition, echo, relaxation)
    signal = dict(zip(_RELAXATION, (values / values[0]).tolist(), strict=True))
    signal["marrow"] = float(np.clip(signal["marrow"], 0.35, 0.8))
    signal |= {name: float(rng.uniform(low, high)) for name, (low, high) in _RANGES.items()}
    return Tissue(repetition, echo, signal)
