"""Draw how a patient is scanned: the paper's hospital, and for mode diverse any other."""

import numpy as np

from meddet.phantom.diverse import draw_diverse
from meddet.phantom.presets import Mode
from meddet.phantom.protocol import Coil, Look, Protocol, Readout, Sequence

SCANNERS: dict[Mode, tuple[str, ...]] = {
    "default": ("Phantom A", "Phantom B", "Phantom C"),
    "diverse": ("Phantom D", "Phantom E", "Phantom F", "Phantom G", "Phantom H"),
    "stress": ("Phantom S",),
    "easy": ("Phantom T",),
}
"""Names of scanners; a name tells the mode."""
_MATRICES = (320, 352, 384, 448)
_STRESS_NOISE = (0.12, 0.2, 0.3)


def draw_protocol(mode: Mode, rng: np.random.Generator, *, side: int, linear: bool) -> Protocol:
    """Draw how a patient is scanned; `linear` leaves out what a DICOM file and its window cannot hold."""
    scanner = str(rng.choice(SCANNERS[mode]))
    if mode == "diverse":
        return draw_diverse(scanner, rng, side=side, linear=linear)
    field = float(rng.choice([1.5, 3.0]))
    sequence = Sequence(field, "t2", float(rng.uniform(2500, 4500)), float(rng.uniform(85, 120)), 0.0)
    ordinary = float(np.clip(0.05 * np.exp(rng.normal(0, 0.25)), 0.03, 0.09))
    readout = Readout(
        matrix=min(int(rng.choice(_MATRICES)), side),
        phase_share=1.0,
        phase_axis=0 if rng.random() < 0.7 else 1,
        taper=float(rng.uniform(0.1, 0.6)),
        enhance=0.0,
        thickness_mm=int(rng.choice([3, 3, 3, 4, 4, 5])) if rng.random() < 0.1 else 0,
        sigma=float(rng.choice(_STRESS_NOISE)) if mode == "stress" else ordinary,
    )
    return Protocol(
        mode, scanner, side, side, sequence, _coil(rng), readout, _look(rng, linear=linear), (0.0, 0.0, 0.0, 0.0)
    )


def _coil(rng: np.random.Generator) -> Coil:
    """Draw a neck coil: it decays from the back by 35 to 80 mm, with 0.8 to 4.2 times the strength of its flat part."""
    decay, ratio = float(rng.uniform(35, 80)), float(rng.uniform(0.8, 4.2))
    c = rng.uniform(-0.05, 0.05, 5).tolist()
    return Coil(
        back=(ratio, decay),
        front=(0.0, 50.0),
        front_loss=float(rng.uniform(0.15, 0.4)),
        polynomial=(c[0], c[1], c[2], c[3], c[4]),
        edge_loss=float(rng.uniform(0.25, 0.6)),
        bands=(0.0, 60.0, 0.0),
        evened=0.0,
        saturation=None,
        ends=False,
    )


def _look(rng: np.random.Generator, *, linear: bool) -> Look:
    """Draw the window: dark and led by the fat; 10 % of images stretched, 3 % with a lifted black level."""
    level, chance, gamma, lift = rng.uniform(145, 220), rng.random(), rng.uniform(0.6, 1), rng.uniform(4, 12)
    jpeg = int(rng.integers(75, 96)) if rng.random() < 0.2 and not linear else 0
    if chance < 0.05 and not linear:
        return Look("gamma", 255.0, float(gamma), 0.0, 0, 1.0, (0.0, 0.0), 0, jpeg)
    if chance < 0.10:
        return Look("dark", 425.0, 1.0, 0.0, 0, 1.0, (0.0, 0.0), 0, jpeg)
    if chance < 0.13 and not linear:
        return Look("lifted", float(level), 1.0, float(lift), 0, 1.0, (0.0, 0.0), 0, jpeg)
    return Look("dark", float(level), 1.0, 0.0, 0, 1.0, (0.0, 0.0), 0, jpeg)
