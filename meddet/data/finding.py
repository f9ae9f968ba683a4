"""What came of one expectation on a table, and how to say it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_MAX_NAMED = 3


@dataclass(frozen=True)
class Finding:
    """One expectation and its outcome.

    `text` says what is expected, `rows` are the first ids of failing rows, `error` is why it couldn't be evaluated.
    """

    table: str
    type: str
    kwargs: Mapping[str, Any]
    text: str
    success: bool
    num_rows: int
    num_failed: int
    rows: tuple[str, ...]
    error: str | None

    @property
    def columns(self) -> str:
        """Name the column, or the two that are compared."""
        return str(self.kwargs.get("column") or f"{self.kwargs['column_A']} ≥ {self.kwargs['column_B']}")

    @property
    def limits(self) -> str:
        """Say the numbers of the rule, e.g. "0 to 120", "above 0", "F or M"; empty where there are none."""
        low, high, values = (self.kwargs.get(key) for key in ("min_value", "max_value", "value_set"))
        if values is not None:
            return " or ".join(str(value) for value in values)
        if low is None:
            return ""
        if high is None:
            return f"{'above' if self.kwargs.get('strict_min') else 'at least'} {low:g}"
        return f"{low:g}" if low == high else f"{low:g} to {high:g}"

    def __str__(self) -> str:
        expected = f"{self.table}.{self.columns}: expected {self.text}" + (f" ({self.limits})" if self.limits else "")
        if self.error:
            return f"{expected}, got an error: {self.error}"
        more = ", ..." if self.num_failed > _MAX_NAMED else ""
        rows = ", ".join(self.rows[:_MAX_NAMED]) + more
        return f"{expected}, not so in {self.num_failed} of {self.num_rows} rows: {rows}"
