"""How a patient is scanned and his images are written: what all of his slices share, and no anatomy."""

from dataclasses import dataclass
from typing import Literal

from meddet.phantom.presets import Mode

Weighting = Literal["t2", "stir", "intermediate", "heavy"]
WindowKind = Literal["dark", "gamma", "csf", "lifted", "local", "inverted"]
CANVAS_LIMIT = 512


@dataclass(frozen=True)
class Sequence:
    """The fast spin echo."""

    field_t: float
    weighting: Weighting
    repetition_ms: float
    echo_ms: float
    jitter: float
    """Log-normal spread of each tissue's signal, beyond that of relaxation."""


@dataclass(frozen=True)
class Coil:
    """Receive sensitivity before it is scaled to 1 at the canal of C4/5, and what is done against it."""

    back: tuple[float, float]
    """Strength over the flat part and decay in mm, from the skin of the back."""
    front: tuple[float, float]
    """The same from the skin of the throat."""
    front_loss: float
    """Share of the signal that is lost at the far front."""
    polynomial: tuple[float, float, float, float, float]
    """Coefficients of u, v, uv, u^2, v^2 on [-1, 1]."""
    edge_loss: float
    """Share of the signal that is lost at the upper and lower edge."""
    bands: tuple[float, float, float]
    """Amplitude, period in mm and phase of the sensitivity along a spine array."""
    evened: float
    """Share of the logarithm of the sensitivity that the scanner divides out again."""
    saturation: tuple[float, float, float] | None
    """Band that darkens the front: distance from the column in mm, slope, signal left in it."""
    ends: bool
    """Whether the sensitivity ends before the painted body does; a wide field needs it."""


@dataclass(frozen=True)
class Readout:
    """How k-space is covered and filtered."""

    matrix: int
    """Lines along the image's longer side."""
    phase_share: float
    """Share of the lines that is acquired along the phase axis."""
    phase_axis: int
    """0: head-feet, 1: front-back."""
    taper: float
    """How far the filter lowers the edge of k-space."""
    enhance: float
    """Gain of fine structures over coarse ones, as an edge filter gives; negative: soft."""
    thickness_mm: int
    """Slice thickness whose partial volume blurs, 0 for none."""
    sigma: float
    """Noise of either channel relative to CSF."""


@dataclass(frozen=True)
class Look:
    """From magnitudes to the grey values of a file."""

    window: WindowKind
    level: float
    """Grey value of the brightest fat; of CSF if the window is led by CSF."""
    gamma: float
    lift: float
    """Grey value of black."""
    tones: int
    """Number of grey values left by a coarse export, 0 for all."""
    shrink: float
    """Size relative to the file's at which the scanner reconstructs; a viewer scales it up."""
    bars: tuple[float, float]
    """Share of width and height that padding takes on either side."""
    bar_tone: int
    jpeg: int
    """Quality of a JPEG that the image went through, 0 for none."""


@dataclass(frozen=True)
class Protocol:
    """What all slices of a patient share."""

    mode: Mode
    scanner: str
    rows: int
    columns: int
    sequence: Sequence
    coil: Coil
    readout: Readout
    look: Look
    margins_mm: tuple[float, float, float, float]
    """What this annotator adds to a box: front, back, top, bottom."""

    @property
    def side(self) -> int:
        """Give the image's longer side in pixels."""
        return max(self.rows, self.columns)

    @property
    def extent(self) -> tuple[float, float]:
        """Give width and height relative to the longer side."""
        return self.columns / self.side, self.rows / self.side

    @property
    def canvas(self) -> int:
        """Give the side of the object before supersampling: finer than any matrix, and never above the limit."""
        return min(self.side, CANVAS_LIMIT)
