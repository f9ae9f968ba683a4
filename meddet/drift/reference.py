"""How the watched numbers lie among the studies that the model was made from: `reference.json` of a bundle."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from meddet.drift.features import FEATURES, Values
from meddet.files import read_json, write_json

FORMAT = 1
LEAST_STUDIES = 20
"""Of fewer no distribution is kept: it would say more of single patients than of all."""
QUANTILES = 100
_DIGITS = 6


@dataclass(frozen=True)
class Rule:
    """When the newest studies count as drifted. Chosen by simulation: benchmarks/drift.py."""

    window: int
    """Newest studies that are compared with the reference."""
    least: int
    """Studies from which on they are compared."""
    p_value: float
    """Largest p of the Kolmogorov-Smirnov test, multiplied by the number of features, that is drift."""
    psi: float
    """Least population stability index that is drift."""
    bins: int
    """Bins of equal share of the reference, over which the index sums, beside the two beyond its range."""


@dataclass(frozen=True)
class Distribution:
    """One feature over the reference's studies. `quantiles`, `edges` and `shares` are empty where they are too few."""

    part: str
    """Of the split: train or validation."""
    studies: int
    """That have a value."""
    quantiles: tuple[float, ...]
    """The values at 0.5 %, 1.5 %, ... 99.5 %."""
    edges: tuple[float, ...]
    """Of the bins; a bin holds its upper edge. The first and the last bin lie beyond what the reference has."""
    shares: tuple[float, ...]
    """Of the studies by bin: one more than there are edges."""


@dataclass(frozen=True)
class Reference:
    """What new studies are compared with."""

    rule: Rule
    features: Mapping[str, Distribution]


def build_reference(parts: Mapping[str, Sequence[Values]], *, rule: Rule) -> Reference:
    """Sum up the studies, one row of values for each patient.

    Args:
        parts: rows by part: `train` gives the images' features, `validation` the scores', which the model would
            inflate on images that it was trained on.
        rule: that compares with it.
    """
    source = {"image": "train", "score": "validation"}
    return Reference(
        rule,
        {
            name: _distribution(name, source[feature.source], parts[source[feature.source]], bins=rule.bins)
            for name, feature in FEATURES.items()
        },
    )


def write_reference(path: Path, reference: Reference) -> None:
    """Write reference.json, each feature with its title and unit."""
    features = {
        name: {"title": FEATURES[name].title, "unit": FEATURES[name].unit, **asdict(each)}
        for name, each in reference.features.items()
    }
    write_json(path, {"format": FORMAT, "rule": asdict(reference.rule), "features": features})


def read_reference(path: Path) -> Reference:
    """Read reference.json.

    Errors:
        ValueError: of another format, or not what `write_reference` writes.
    """
    content = read_json(path)
    try:
        if content["format"] != FORMAT or set(content["features"]) != set(FEATURES):
            raise ValueError(f"{path}: expected format {FORMAT} and the features {', '.join(FEATURES)}")
        features = {name: _read(content["features"][name]) for name in FEATURES}
        return Reference(Rule(**content["rule"]), features)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected the reference of a bundle, got an error: {error}") from None


def bin_shares(values: Sequence[float], edges: Sequence[float]) -> tuple[float, ...]:
    """Give the share of the values in each bin."""
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
    return tuple(round(float(count) / len(values), _DIGITS) for count in counts)


def _distribution(name: str, part: str, rows: Sequence[Values], *, bins: int) -> Distribution:
    known = [value for row in rows if (value := row.get(name)) is not None]
    if len(known) < LEAST_STUDIES:
        return Distribution(part, len(known), (), (), ())
    values = np.array([_rounded(value) for value in known])
    places = (np.arange(QUANTILES) + 0.5) / QUANTILES
    quantiles = tuple(np.quantile(values, places, method="inverted_cdf").tolist())
    inner = np.quantile(values, np.arange(1, bins) / bins, method="inverted_cdf")
    beyond = (np.nextafter(values.min(), -np.inf), values.max())
    edges = tuple(sorted({float(edge) for edge in (*inner, *beyond)}))
    return Distribution(part, len(known), quantiles, edges, bin_shares(values.tolist(), edges))


def _read(content: dict[str, Any]) -> Distribution:
    lists = {key: tuple(float(value) for value in content[key]) for key in ("quantiles", "edges", "shares")}
    return Distribution(part=str(content["part"]), studies=int(content["studies"]), **lists)


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
