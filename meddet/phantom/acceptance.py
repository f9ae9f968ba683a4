"""Is the phantom like the paper's images? Statistics of mode default beside the ranges of phantom.md 4 and 5.13."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from meddet.classes import LEVELS
from meddet.data.reference import BOXES, INTENSITY
from meddet.phantom.look import to_uint8
from meddet.phantom.presets import Preset
from meddet.phantom.render import Picture
from meddet.phantom.study import Slice, draw_patient, draw_slice


def _figure(name: str) -> tuple[float, float]:
    found = BOXES[name][0]
    return found.low, found.high


PICTURE_RANGES: dict[str, tuple[float, float]] = {
    **{name: (found.low, found.high) for name, found in INTENSITY.items()},
    "air / CSF": (0.04, 0.09),
    "cord / CSF": (0.3, 0.6),
    "marrow / CSF": (0.4, 0.9),
    "disc p10 / CSF": (0.0, 0.15),
    "fat p99.9 / CSF": (1.4, 4.8),
}
"""Medians over images; of the paper's figure, four images."""
GEOMETRY_RANGES: dict[str, tuple[float, float]] = {
    "boxes per image": (6.0, 6.0),
    "box width / side": _figure("width, share of the side"),
    "box height / side": _figure("height, share of the side"),
    "box width / height": _figure("width / height"),
    "protrusions are wider by": (0.004, 0.010),
    "pitch / side": _figure("distance of neighbours, share of the side"),
    "centre x, p7.5": (0.36, 0.58),
    "centre x, p92.5": (0.36, 0.60),
    "C2/3 centre y, p5": (0.28, 0.46),
    "C2/3 centre y, p95": (0.28, 0.46),
    "protrusion rate": (0.40, 0.50),
    "levels in order": (1.0, 1.0),
}
_EDGES = (0, 12, 40, 80, 160, 256)


@dataclass(frozen=True)
class Finding:
    """One statistic beside its range."""

    name: str
    value: float
    low: float
    high: float

    @property
    def inside(self) -> bool:
        """Say whether the value lies in its range."""
        return self.low <= self.value <= self.high


def enrolled_slices(preset: Preset, count: int) -> Iterator[Slice]:
    """Give that many slices of enrolled patients, all slices of a patient, in the order of their numbers."""
    left = count
    for number in range(1, preset.scanned + 1):
        patient = draw_patient(preset, number)
        for index in range(1, patient.num_images + 1):
            if not patient.exclusion and left > 0:
                left -= 1
                yield draw_slice(preset, patient, index)


def picture_statistics(item: Slice, picture: Picture) -> dict[str, float]:
    """Measure one rendered slice."""
    grey = to_uint8(picture.grey)
    found = {f"grey p{p:g}": float(np.percentile(grey, p)) for p in (50, 75, 90, 95, 99, 99.9)}
    counts = np.histogram(grey, _EDGES)[0] / grey.size
    names = [name for name in PICTURE_RANGES if name.startswith("share")]
    found |= dict(zip(names, counts.tolist(), strict=True))
    return {"grey mean": float(grey.mean())} | found | _contrasts(item, picture.scan.magnitude)


def picture_findings(statistics: Iterable[dict[str, float]]) -> list[Finding]:
    """Compare the medians over images with their ranges."""
    rows = list(statistics)
    return [
        Finding(name, float(np.median([row[name] for row in rows])), *limits) for name, limits in PICTURE_RANGES.items()
    ]


def geometry_findings(slices: Iterable[Slice]) -> list[Finding]:
    """Compare boxes and labels with their ranges; the order of the levels needs some 2,000 slices."""
    rows = [(box, item.patient.frame.fov_mm, len(item.boxes)) for item in slices for box in item.boxes]
    corners = np.array([np.array(box.corners) / fov for box, fov, _ in rows])
    label = np.array([box.protruded for box, _, _ in rows])
    level = np.array([box.level for box, _, _ in rows])
    width, height = corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]
    x, y = (corners[:, 0] + corners[:, 2]) / 2, (corners[:, 1] + corners[:, 3]) / 2
    rate = [float(label[level == k].mean()) for k in range(len(LEVELS))]
    values = {
        "boxes per image": float(np.mean([count for _, _, count in rows])),
        "box width / side": width.mean(),
        "box height / side": height.mean(),
        "box width / height": width.mean() / height.mean(),
        "protrusions are wider by": width[label].mean() - width[~label].mean(),
        "pitch / side": np.diff(y.reshape(-1, len(LEVELS))[:, :5], axis=1).mean(),
        "centre x, p7.5": np.percentile(x, 7.5),
        "centre x, p92.5": np.percentile(x, 92.5),
        "C2/3 centre y, p5": np.percentile(y[level == 0], 5),
        "C2/3 centre y, p95": np.percentile(y[level == 0], 95),
        "protrusion rate": label.mean(),
        "levels in order": float(rate[3] > rate[4] > rate[2] > rate[1] > max(rate[0], rate[5])),
    }
    return [Finding(name, float(values[name]), *limits) for name, limits in GEOMETRY_RANGES.items()]


def _contrasts(item: Slice, magnitude: Float[ndarray, "h w"]) -> dict[str, float]:
    """Measure tissues against the CSF beside them, where the anatomy says that they lie."""
    canal, spine, pixel = item.canal, item.patient.spine, item.patient.frame.fov_mm / max(magnitude.shape)

    def read(points: ndarray) -> ndarray:
        index = (item.patient.frame.to_image(points) / pixel).astype(int)
        values: ndarray = magnitude[
            index[:, 1].clip(0, magnitude.shape[0] - 1), index[:, 0].clip(0, magnitude.shape[1] - 1)
        ]
        return values

    arcs = np.linspace(canal.disc_at[0], canal.disc_at[len(LEVELS) - 1], 120)

    def between(first: ndarray, second: ndarray) -> ndarray:
        return read(canal.at(arcs, np.interp(arcs, canal.arc, (first + second) / 2)))

    fluid = (between(canal.dura_front, canal.cord_front), between(canal.cord_back, canal.dura_back))
    csf = float(np.percentile(np.concatenate(fluid), 75))
    bodies = [(spine.centres[k] + spine.centres[k + 1]) / 2 + [[x, 0.0] for x in (-3, -1, 1, 3)] for k in range(5)]
    u, discs = np.linspace(-0.9, 0.9, 20), []
    for disc in range(len(LEVELS)):
        upper, lower = spine.edge(disc, -1, u), spine.edge(disc, 1, u)
        discs += [read(upper + (lower - upper) * share) for share in np.linspace(0.1, 0.9, 9)]
    return {
        "air / CSF": float(magnitude[5:60, 5:40].mean()) / csf,
        "cord / CSF": float(np.median(between(canal.cord_front, canal.cord_back))) / csf,
        "marrow / CSF": float(np.median(read(np.concatenate(bodies)))) / csf,
        "disc p10 / CSF": float(np.percentile(np.concatenate(discs), 10)) / csf,
        "fat p99.9 / CSF": float(np.percentile(magnitude, 99.9)) / csf,
    }
