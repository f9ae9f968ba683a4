from pathlib import Path

import pandas as pd
import pytest

from meddet.data.table import read_table, write_table


def test_a_table_comes_back_with_its_types(tmp_path: Path) -> None:
    table = pd.DataFrame({"patient_id": ["012345678901", "NA"], "age": [50.0, 61.5], "level": [None, "C3/4"]})
    write_table(tmp_path / "tables", "patients", table)
    assert (
        tmp_path / "tables/patients.csv"
    ).read_bytes() == b"patient_id,age,level\n012345678901,50.0,\nNA,61.5,C3/4\n"
    back = read_table(tmp_path / "tables", "patients")
    assert back["patient_id"].tolist() == ["012345678901", "NA"]
    assert back["age"].tolist() == [50.0, 61.5]
    assert back["level"].isna().tolist() == [True, False]


def test_an_absent_or_empty_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"boxes.csv: expected a table of ingest, found none"):
        read_table(tmp_path, "boxes")
    for content in (b"", b"a,b\n1,2,3\n4,5,6,7\n", b"\xff\xfe\x00"):
        (tmp_path / "boxes.csv").write_bytes(content)
        with pytest.raises(ValueError, match=r"boxes.csv: expected a table of ingest, got: "):
            read_table(tmp_path, "boxes")
