"""Reports show no digits that mean nothing."""

from typing import Any


def rounded(value: Any, *, digits: int) -> Any:
    """Round every float of a report, however deep."""
    if isinstance(value, dict):
        return {key: rounded(item, digits=digits) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item, digits=digits) for item in value]
    return round(value, digits) if isinstance(value, float) else value
