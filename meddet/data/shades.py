"""From stored DICOM values to shades: modality and VOI tables and functions (PS3.3 C.11.1, C.11.2)."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from pydicom.dataset import Dataset

from meddet.data.scan import Refused

_LARGEST = 1e12
"""No scanner rescales or windows by more; larger numbers would overflow."""


def rescaled(stored: Shaped[np.ndarray, "h w"], header: Dataset) -> Float[np.ndarray, "h w"]:
    """Apply the modality table, or slope and intercept; a file may have neither."""
    table = _first(header, "ModalityLUTSequence")
    if table is not None:
        return _look_up(stored.astype(np.float64), table)[0]
    slope, intercept = _number(header, "RescaleSlope", 1.0), _number(header, "RescaleIntercept", 0.0)
    if slope == 0:
        raise Refused("expected a RescaleSlope other than 0")
    return stored * slope + intercept


def shaded(
    values: Float[np.ndarray, "h w"], header: Dataset
) -> tuple[Float[np.ndarray, "h w"], tuple[float, float] | None]:
    """Apply a VOI table or sigmoid; return the shades and the values that become 0 and 1, None where nothing says.

    Of several views the first counts. pydicom's own `apply_voi` wraps indices into a table of 8-bit entries.
    """
    table = _first(header, "VOILUTSequence")
    if table is not None:
        shades, white = _look_up(values, table)
        return shades, (0.0, white)
    centre, width = _number(header, "WindowCenter", None), _number(header, "WindowWidth", None)
    if centre is None or width is None:
        return values, None
    function = str(header.get("VOILUTFunction") or "LINEAR").upper()
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise Refused("expected a VOILUTFunction of LINEAR, LINEAR_EXACT or SIGMOID, got another")
    least = 1 if function == "LINEAR" else 0
    if not width > least:
        raise Refused(f"expected a WindowWidth above {least}, got {width:g}")
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            return 1 / (1 + np.exp(-4 * (values - centre) / width)), (0.0, 1.0)
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    return values, (centre - width / 2, centre + width / 2)


def padding(stored: Shaped[np.ndarray, "h w"], header: Dataset) -> Shaped[np.ndarray, "h w"]:
    """Mark the pixels that only fill the frame. Writers often store a negative value as unsigned: both are known."""
    value = header.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=np.bool_)
    limit = header.get("PixelPaddingRangeLimit")
    ends = np.array([value, value if limit is None else limit], dtype=np.int64).astype(stored.dtype)
    return (stored >= ends.min()) & (stored <= ends.max())


def _first(header: Dataset, keyword: str) -> Dataset | None:
    sequence = header.get(keyword)
    return sequence[0] if sequence else None


def _number(header: Dataset, keyword: str, default: Any) -> Any:
    value = header.get(keyword)
    if value is None or value == "":
        return default
    number = float(np.atleast_1d(np.asarray(value, dtype=np.float64))[0])
    if not abs(number) <= _LARGEST:
        raise Refused(f"expected a {keyword} of at most {_LARGEST:g}, got {number}")
    return number


def _look_up(values: Float[np.ndarray, "h w"], item: Dataset) -> tuple[Float[np.ndarray, "h w"], float]:
    """Return the entries for `values` and the largest that the table's depth allows."""
    if item.get("LUTDescriptor") is None or len(item.LUTDescriptor) != 3 or item.get("LUTData") is None:
        raise Refused("expected a LUTDescriptor of three numbers and LUTData, found less")
    count, first, bits = (int(number) for number in item.LUTDescriptor)
    count = count & 0xFFFF or 0x10000
    if not 8 <= bits <= 16:
        raise Refused(f"expected a table of 8 to 16 bits, got {bits}")
    table = _entries(item, count)
    return table[np.clip(np.rint(values) - first, 0, count - 1).astype(np.int64)].astype(np.float64), 2.0**bits - 1


def _entries(item: Dataset, count: int) -> Int[np.ndarray, " n"]:
    """Read the entries, which files keep as numbers, as words or, of 8 bits, as bytes."""
    data = item.LUTData
    if isinstance(data, bytes):
        words = ">u2" if item.original_encoding[1] is False else "<u2"
        table = np.frombuffer(data, dtype=words if len(data) >= 2 * count else "u1")
    else:
        table = np.atleast_1d(np.asarray(data, dtype=np.int64))
    if len(table) < count:
        raise Refused(f"expected a table of {count} entries, got {len(table)}")
    return table[:count].astype(np.int64)
