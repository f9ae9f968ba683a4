"""What the drift flow shows on its page: numbers and distributions, no names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows._summary import NOTICE, picture_markdown


def drift_markdown(project: Path, state: Path, report: Mapping[str, Any], words: str) -> str:
    """Show the words, the picture and the table of features that `meddet drift` left in its state."""
    rows = [
        {
            "feature": each["name"],
            "reference": each["reference_median"],
            "newest": each["median"],
            "PSI": each["psi"],
            "p": each["p_value"],
            "": each["note"] or ("**DRIFT**" if each["drifted"] else ""),
        }
        for each in report["features"].values()
    ]
    head = list(rows[0])
    lines = ["|".join(head), "|".join("---" for _ in head)]
    lines += ["|".join(_cell(row[name]) for name in head) for row in rows]
    table = "\n".join(f"|{line}|" for line in lines)
    return f"{words}\n\n{picture_markdown(project, state / 'drift.png')}\n\n{table}\n\n{NOTICE}"


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str("-" if value is None else value)
