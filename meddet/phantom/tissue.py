"""How bright each tissue is, relative to CSF: the spin-echo equation where relaxation is known, ranges elsewhere."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from meddet.phantom.protocol import Sequence

_RELAXATION = {
    "csf": (4273.0, 1578.0, 107.5),
    "cord": (780.0, 102.0, 58.7),
    "disc_normal": (1165.0, 102.0, 78.9),
    "disc_middle": (723.0, 67.0, 60.8),
    "disc_dry": (554.0, 56.0, 47.6),
    "marrow": (515.0, 101.0, 91.1),
}
"""T1 ms, T2 ms, proton density (PMC7410772)."""
_FIELD = {1.0: (0.84, 1.06), 1.5: (0.92, 1.03), 3.0: (1.1, 0.96)}
"""What the field in tesla makes of T1 and T2; CSF keeps its own. [E], about half the step that Stanisz 2005 reports."""
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
"""At TE 102 ms, the middle of the paper's protocol."""
_DECAY_MS = {"muscle": 60, "tongue": 60, "soft": 80, "annulus": 60, "cap": 60, "grey": 150, "white": 150}
"""How fast these fall off with the echo time, beyond CSF."""
_MARROW = {"t2": (0.35, 0.8), "intermediate": (0.5, 1.5), "stir": (0.1, 0.35), "heavy": (0.08, 0.4)}
_LOOSE = {"marrow": 3.0, "disc_normal": 2.0, "disc_middle": 2.0, "disc_dry": 2.0, "fat": 2.0}
"""Tissues whose brightness differs most between protocols and people, in parts of a protocol's jitter."""
_FAT_SUPPRESSED = {"fat": 0.14, "marrow": 0.4, "interspinous": 0.5}


@dataclass(frozen=True)
class Tissue:
    """Signals of one patient's tissues relative to CSF."""

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


def draw_tissue(sequence: Sequence, rng: np.random.Generator) -> Tissue:
    """Draw the tissues of a patient under that sequence: relaxations with 6 % log-normal jitter."""
    relaxation = np.array(list(_RELAXATION.values())) * np.exp(rng.normal(0, 0.06, (len(_RELAXATION), 3)))
    relaxation[1:, :2] *= _FIELD[sequence.field_t]
    values = spin_echo(sequence.repetition_ms, sequence.echo_ms, relaxation)
    signal = dict(zip(_RELAXATION, (values / values[0]).tolist(), strict=True))
    signal |= {name: float(rng.uniform(low, high)) for name, (low, high) in _RANGES.items()}
    for name, decay in _DECAY_MS.items():
        signal[name] *= float(np.exp(np.clip((102 - sequence.echo_ms) / decay, -1.0, 0.7)))
    if sequence.weighting == "stir":
        signal |= {name: signal[name] * factor for name, factor in _FAT_SUPPRESSED.items()}
    spread = [sequence.jitter * _LOOSE.get(name, 1.0) * float(rng.standard_normal()) for name in signal]
    signal = {name: value * float(np.exp(log)) for (name, value), log in zip(signal.items(), spread, strict=True)}
    signal["csf"] = 1.0
    low, high = _MARROW[sequence.weighting]
    slack = float(np.exp(4 * sequence.jitter))
    signal["marrow"] = float(np.clip(signal["marrow"], low / slack, high * slack))
    return Tissue(signal)
