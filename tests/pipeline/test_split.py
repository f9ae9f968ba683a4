import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline._stage import VALIDATION_FAILED, Failure
from pipeline.split import check_parts

ROOT = Path(__file__).parents[2]


def test_it_writes_parts_and_their_counts(ingested: Any) -> None:
    assert ingested.call("validate")[0] == 0
    done = ingested.run("split")
    assert (done.returncode, done.stderr) == (0, "")
    first = ingested.files("artifacts") | ingested.files("reports")
    split = json.loads(first["artifacts/split.json"])
    assert {part: len(members) for part, members in split.items()} == {"train": 4, "validation": 1, "test": 1}
    report = json.loads(first["reports/split.json"])
    assert report["parts"]["test"] == {"patients": 1, "images": 2, "boxes": {"protrusion": 2, "non-protrusion": 2}}
    assert sum(part["images"] for part in report["parts"].values()) == 12
    none = {"patients": 0, "groups": 0}
    assert report["overlap"] == dict.fromkeys(("train and validation", "train and test", "validation and test"), none)
    assert report["groups_of_several"] == 0
    assert ingested.call("split")[0] == 0
    assert ingested.files("artifacts") | ingested.files("reports") == first


def test_images_without_boxes_are_split_too(ingested: Any) -> None:
    assert ingested.call("validate")[0] == 0
    path = ingested.root / "artifacts/tables/boxes.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    code, said = ingested.call("split")
    assert code == 0, said


def test_fault_15_linked_patients_stay_in_one_part(ingested: Any) -> None:
    assert ingested.call("validate")[0] == 0
    path = ingested.root / "artifacts/groups.csv"
    names = [line.split(",")[0] for line in path.read_text().splitlines()[1:]]
    groups = {name: names[0] if name in names[:3] else name for name in names}
    path.write_text("patient_id,group\n" + "".join(f"{name},{group}\n" for name, group in groups.items()))
    for seed in range(6):
        ingested.set("split.seed", seed)
        code, said = ingested.call("split")
        assert code == 0, said
        split = json.loads((ingested.root / "artifacts/split.json").read_text())
        assert [part for part, members in split.items() if set(names[:3]) & set(members)] == ["train"]
        assert ingested.report("split")["groups_of_several"] == 1


def test_fault_15_a_shared_a_lost_and_an_unknown_patient_and_a_torn_group_are_named() -> None:
    alone = {name: name for name in "abc"}
    check_parts(["a", "b", "c"], alone, {"train": ["a"], "validation": ["b"], "test": ["c"]})
    parts = {"train": ["a", "b", "e"], "validation": ["b"], "test": ["c"]}
    with pytest.raises(Failure) as caught:
        check_parts(["a", "b", "c", "d"], {"a": "a", "b": "b", "c": "a", "d": "d"}, parts)
    assert caught.value.code == VALIDATION_FAILED
    assert str(caught.value) == (
        "artifacts/split.json: patients.num_parts: expected a patient in exactly one part (1), not so in 2 of 5 rows: "
        "b, d; patients.num_rows: expected an enrolled patient (1), not so in 1 of 5 rows: e; groups.num_parts: "
        "expected a group in exactly one part (1), not so in 3 of 3 rows: a, b, d; nothing was written"
    )


def test_fault_15_patients_keep_their_parts_when_the_seed_and_the_data_change(ingested: Any) -> None:
    assert ingested.call("validate")[0] == 0
    assert ingested.call("split")[0] == 0
    path = ingested.root / "artifacts/split.json"
    first = json.loads(path.read_text())
    (ingested.root / "data.split.json").write_text(json.dumps(first))
    for seed in range(5):
        ingested.set("split.seed", seed)
        assert ingested.call("split")[0] == 0
        assert json.loads(path.read_text()) == first


@pytest.mark.parametrize("content", [{"train": []}, {"train": ["a"], "validation": ["a"], "test": []}, [1]])
def test_a_kept_split_that_is_none_ends_in_one_line(ingested: Any, content: Any) -> None:
    assert ingested.call("validate")[0] == 0
    (ingested.root / "data.split.json").write_text(json.dumps(content))
    code, said = ingested.call("split")
    assert code == 2
    expected = "expected the lists train, validation, test of patient ids, each id in one of them"
    assert said == f"error: data.split.json: {expected}\n"


def test_without_tables_it_ends_in_one_line(hospital: Any) -> None:
    code, said = hospital.call("split")
    assert code == 2
    assert said == "error: artifacts/tables/patients.csv: expected a table of ingest, found none; run ingest first\n"


@pytest.mark.parametrize("stage", ["ingest", "validate", "split"])
def test_a_data_stage_starts_light(stage: str) -> None:
    code = f"import sys, pipeline.{stage}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_run_of_a_data_stage_loads_no_torch(hospital: Any) -> None:
    """One process runs all three, so that the slow imports come once."""
    code = "\n".join(
        [
            "import sys, pipeline.ingest, pipeline.validate, pipeline.split",
            "from pathlib import Path",
            "from meddet.config import load_params",
            "if __name__ == '__main__':",
            "    params = load_params(Path('params.yaml'))",
            "    for stage in (pipeline.ingest, pipeline.validate, pipeline.split):",
            "        stage.main(params)",
            "    print([name for name in ('torch', 'prefect', 'mlflow', 'dvc') if name in sys.modules])",
        ]
    )
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=hospital.root, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"


HEAVY = ["torch", "prefect", "mlflow", "dvc", "great_expectations"]
