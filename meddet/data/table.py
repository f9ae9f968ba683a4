"""The tables that ingest leaves for the stages after it: patients, images and boxes as CSV."""

from pathlib import Path

import pandas as pd

from meddet.files import write_atomic

_TEXT = (
    *("patient_id", "sex", "scanner", "file_name", "class_name", "level", "study", "instance", "group"),
    *("file", "kind", "annotation", "fault", "action", "before", "after", "votes", "outcome"),
)


def write_table(folder: Path, name: str, table: pd.DataFrame) -> None:
    """Write `folder`/<name>.csv, whole or not at all."""
    write_atomic(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n").encode())


def read_table(folder: Path, name: str) -> pd.DataFrame:
    """Read `folder`/<name>.csv; only an empty cell is a missing value.

    Errors:
        ValueError: no such table, or not one.
    """
    path = folder / f"{name}.csv"
    try:
        return pd.read_csv(path, dtype=dict.fromkeys(_TEXT, str), keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise ValueError(f"{path}: expected a table of ingest, found none; run ingest first") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected a table of ingest, got: {' '.join(str(error).split())}") from None
