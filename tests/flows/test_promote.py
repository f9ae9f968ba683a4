import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import numpy as np
import onnx
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from flows import _checks, _evidence, _registry, promote
from flows._checks import CurrentTest, Version, check_behaviour, check_files
from flows._evidence import read_test_part
from flows._protocol import load_protocol
from flows._tags import CHALLENGER, CHAMPION, DECISION_TAG, LINEAGE, MODEL, PREVIOUS
from meddet.evaluate.scored import read_scored
from tests.flows.tiny_project import read_decision, vary, vouch, write_evaluation, write_protocol

Clone = Callable[..., str]


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def here(tiny_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project to promote in, and the working directory."""
    project = Path(shutil.copytree(tiny_project, tmp_path / "tiny project"))
    monkeypatch.chdir(project)
    return project


@pytest.fixture
def loaded_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for the fresh process where another test has shown it: it takes seconds."""
    monkeypatch.setattr(_checks, "load_back", lambda *_: None)


@pytest.fixture(scope="module")
def worse_bundle(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network, which keeps too few of its detections."""
    return vary(tiny_bundle, tmp_path_factory.mktemp("worse"), max_detections=14)


@pytest.fixture
def like(clone: Clone, good: str, tmp_path: Path) -> Callable[..., str]:
    """Make a version whose files are the good one's, but for what is given; its tags tell the truth, but for `tags`."""

    def make(made: Path | None = None, evaluation: list[Path] | None = None, **tags: str | None) -> str:
        source = tmp_path / f"version{len(list(tmp_path.iterdir()))}"
        found = mlflow.artifacts.download_artifacts(f"models:/meddet/{good}", dst_path=str(source))
        artifacts = Path(found) / "artifacts"
        if made is not None:
            shutil.rmtree(artifacts / "bundle")
            shutil.copytree(made, artifacts / "bundle")
        for path in evaluation or []:
            shutil.copy(path, artifacts / "evaluation")
        truth = {
            "bundle.sha256": _sha256(artifacts / "bundle" / "manifest.json"),
            "detections.sha256": _sha256(artifacts / "evaluation" / "detections.json"),
        }
        return clone(Path(found).as_uri(), **{**truth, **tags})

    return make


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def point(client: MlflowClient, **names: str | None) -> None:
    """Let champion, challenger and previous name these versions and nothing else."""
    for name in (CHAMPION, CHALLENGER, PREVIOUS):
        if number := names.get(name):
            client.set_registered_model_alias(MODEL, name, number)
        elif name in _registry.aliases(client):
            client.delete_registered_model_alias(MODEL, name)


@pytest.fixture
def worse(like: Clone, worse_bundle: Path, tiny_project: Path, tmp_path: Path) -> str:
    return like(worse_bundle, write_evaluation(tiny_project, worse_bundle, tmp_path / "evaluation of worse"))


def test_the_first_passes_floors_a_better_one_is_promoted_and_rolled_back(
    client: MlflowClient,
    good: str,
    worse: str,
    here: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    point(client, challenger=worse)
    with monkeypatch.context() as patch:
        patch.setattr(_checks, "load_back", lambda *_: None)
        assert promote.main([]) == 0
    assert _registry.aliases(client) == {CHALLENGER: worse, CHAMPION: worse}
    assert (
        "no champion yet; all 8 checks and 8 floors hold" in read_decision(here, f"{worse}-against-none")["reasons"][0]
    )

    client.set_registered_model_alias(MODEL, CHALLENGER, good)
    assert promote.main([]) == 0
    assert _registry.aliases(client) == {CHALLENGER: good, CHAMPION: good, PREVIOUS: worse}
    decision = read_decision(here, f"{good}-against-{worse}")
    assert decision["decision"] == "PROMOTE"
    (ap50,) = [row for row in decision["changes"] if (row["patients"], row["metric"]) == ("all patients", "ap50")]
    assert 0 < ap50["low"] < ap50["difference"] < ap50["high"]
    page = (here / "promotions" / f"{good}-against-{worse}.md").read_text()
    assert page.startswith(f"# PROMOTE: version {good} against champion {worse}")
    assert "Research use only" in page
    for kind in ("metrics", "groups"):
        picture = here / "promotions" / f"{good}-against-{worse}.{kind}.png"
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert f"]({picture.name})" in page
    run = _registry.find_version(client, good).run_id
    logged = {Path(entry.path).name for entry in client.list_artifacts(run, "promotion")}
    assert logged >= {path.name for path in (here / "promotions").glob(f"{good}-against-{worse}*")}
    capsys.readouterr()
    assert promote.main([]) == 0
    assert f"version {good} is the champion already" in capsys.readouterr().out

    assert promote.main(["--rollback", "--reason", "misses C7/T1"]) == 0
    assert _registry.aliases(client) == {CHALLENGER: good, CHAMPION: worse}
    assert read_decision(here, f"{good}-rolled-back-to-{worse}")["reason"] == "misses C7/T1"
    capsys.readouterr()
    assert promote.main([]) == 0
    assert f"version {good} was rolled back (misses C7/T1) and is not promoted by itself" in capsys.readouterr().out
    assert _registry.aliases(client)[CHAMPION] == worse
    assert promote.main(["--rollback", "--reason", "again"]) == 1
    assert "expected a champion and a previous to go back to" in capsys.readouterr().err


@pytest.mark.usefixtures("loaded_back")
def test_a_tie_holds(client: MlflowClient, clone: Clone, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    champion, twin = clone(), clone()
    point(client, champion=champion, challenger=twin)
    assert promote.main([]) == 0
    assert _registry.aliases(client) == {CHAMPION: champion, CHALLENGER: twin}
    assert "a tie holds" in read_decision(here, f"{twin}-against-{champion}")["reasons"][0]
    assert f"HOLD: version {twin} against {champion}" in capsys.readouterr().out
    tags = _registry.find_version(client, twin).tags
    assert (tags[DECISION_TAG], "a tie holds" in tags["promotion.reason"]) == ("HOLD", True)


@pytest.mark.usefixtures("loaded_back")
def test_fault_29_a_worse_lower_bound_is_rejected(client: MlflowClient, clone: Clone, worse: str, here: Path) -> None:
    champion = clone()
    point(client, champion=champion, challenger=worse)
    assert promote.main([]) == promote.REJECTED
    assert _registry.aliases(client) == {CHAMPION: champion, CHALLENGER: worse}
    reasons = " ".join(read_decision(here, f"{worse}-against-{champion}")["reasons"])
    assert "worse than the champion: ap50" in reasons
    assert "regression: sensitivity.protrusion of all patients (12)" in reasons


BLOCKED: dict[str, tuple[dict[str, str | None], str]] = {
    **{f"no {tag}": ({tag: None}, "lineage: expected to know") for tag in LINEAGE},
    "unknown revision": ({"git.revision": "unknown"}, "lineage: expected to know git.revision"),
    "uncommitted": ({"git.dirty": "true"}, "lineage: made from a tree with uncommitted changes"),
    "no word of uncommitted": ({"git.dirty": None}, "lineage: made from a tree with uncommitted changes"),
    "never loaded back": ({"load_back": None}, "files: expected the tag load_back to be equal"),
    "failed load-back": ({"load_back": "failed"}, "files: expected the tag load_back to be equal, got failed"),
    "another bundle": ({"bundle.sha256": "0" * 64}, "bundle: manifest.json is not the file that the tag"),
    "other code": ({"code.sha256": "0" * 64}, "bundle: its manifest says code_sha256 abc"),
    "stale data": ({"data.md5": "other.dir"}, "bundle: its manifest says data_md5 d41d8.dir"),
    "other detections": ({"detections.sha256": "0" * 64}, "detections: detections.json is not the file that the tag"),
}


@pytest.mark.parametrize("case", BLOCKED)
def test_fault_29_tags_that_do_not_fit_block(
    client: MlflowClient, clone: Clone, good: str, here: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of such a version is loaded: the checks of behaviour aren't reached."""
    monkeypatch.delattr(_evidence, "check_behaviour")
    tags, reason = BLOCKED[case]
    challenger = clone(**tags)
    point(client, champion=good, challenger=challenger)
    assert promote.main([]) == promote.REJECTED
    assert _registry.aliases(client) == {CHAMPION: good, CHALLENGER: challenger}
    decision = read_decision(here, f"{challenger}-against-{good}")
    assert reason in decision["reasons"][0]
    assert decision["changes"] == []
    assert reason[:20] in _registry.find_version(client, challenger).tags["promotion.reason"]


def test_fault_28_an_edited_bundle_blocks(
    client: MlflowClient, good: str, like: Clone, tiny_bundle: Path, here: Path, tmp_path: Path
) -> None:
    edited = vary(tiny_bundle, tmp_path / "edited")
    weights = bytearray((edited / "detector.safetensors").read_bytes())
    weights[-1] ^= 1
    (edited / "detector.safetensors").write_bytes(bytes(weights))
    by_file = like(edited)
    vouched = like(vouch(edited), **{"bundle.sha256": _registry.find_version(client, good).tags["bundle.sha256"]})
    for challenger, reason in ((by_file, "detector.safetensors"), (vouched, "manifest.json is not the file")):
        point(client, champion=good, challenger=challenger)
        assert promote.main([]) == promote.REJECTED
        assert reason in read_decision(here, f"{challenger}-against-{good}")["reasons"][0]
        assert _registry.aliases(client)[CHAMPION] == good


def test_fault_28_no_way_back_to_an_edited_bundle(
    client: MlflowClient, good: str, clone: Clone, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    point(client, champion=good, previous=clone(**{"bundle.sha256": "0" * 64}))
    assert promote.main(["--rollback", "--reason", "test"]) == 1
    assert "manifest.json is not the file that the tag bundle.sha256" in capsys.readouterr().err
    assert _registry.aliases(client)[CHAMPION] == good
    assert not (here / "promotions").exists()


@pytest.fixture
def version(client: MlflowClient, good: str, tiny_bundle: Path, tiny_project: Path, tmp_path: Path) -> Version:
    """The good version, with files that may be changed."""
    made = Path(shutil.copytree(tiny_bundle, tmp_path / "own" / "bundle"))
    evaluation = tmp_path / "own" / "evaluation"
    write_evaluation(tiny_project, tiny_bundle, evaluation)
    return Version(good, dict(_registry.find_version(client, good).tags), [], made, evaluation)


@pytest.fixture
def now(tiny_project: Path) -> CurrentTest:
    return read_test_part(tiny_project)


def failed(version: Version, now: CurrentTest) -> dict[str, str]:
    """Every failed check of the two rounds, with what it says."""
    protocol = load_protocol(Path(__file__).parents[2] / "promotion.yaml")
    checks = check_files(version, now, uncommitted="refuse")
    if all(check.passed for check in checks):
        scored = read_scored(version.evaluation / "detections.json")
        checks = check_behaviour(version, scored, now, settings=protocol.integrity)
    return {check.name: check.detail for check in checks if not check.passed}


def tagged(version: Version) -> Version:
    tags = {
        "bundle.sha256": _sha256(version.bundle / "manifest.json"),
        "detections.sha256": _sha256(version.evaluation / "detections.json"),
    }
    return Version(version.number, {**version.tags, **tags}, version.files, version.bundle, version.evaluation)


def test_fault_30_an_export_that_disagrees_blocks_and_is_not_loaded(
    version: Version, now: CurrentTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest and the tags vouch for the wrong ONNX file: only computing shows it."""
    monkeypatch.delattr(_checks, "load_back")
    path = version.bundle / "detector.onnx"
    model = onnx.load(path)
    (weight,) = [tensor for tensor in model.graph.initializer if tensor.name.endswith("head.cls.weight")]
    weight.raw_data = np.flip(onnx.numpy_helper.to_array(weight)).tobytes()
    onnx.save(model, path)
    vouch(version.bundle)
    found = failed(tagged(version), now)
    assert list(found) == ["export"]
    assert "detector.onnx: expected ONNX within 0.05 px" in found["export"]


def test_fault_29_a_stale_split_blocks(version: Version, now: CurrentTest) -> None:
    moved = CurrentTest("0" * 32, now.patients, now.images)
    assert "stale: tested on another test part" in failed(version, moved)["split"]


def test_fault_29_own_training_patients_in_the_test_part_block(version: Version, now: CurrentTest) -> None:
    split = json.loads((version.evaluation / "split.json").read_text())
    split["train"] = [*split["train"], split["test"][0]]
    (version.evaluation / "split.json").write_text(json.dumps(split))
    assert "1 patients of the test part were in its own training" in failed(version, now)["split"]
    (version.evaluation / "split.json").unlink()
    assert "expected split.json" in failed(version, now)["split"]


@pytest.mark.usefixtures("loaded_back")
def test_fault_29_detections_of_another_model_block(
    version: Version, now: CurrentTest, worse_bundle: Path, tiny_project: Path
) -> None:
    write_evaluation(tiny_project, worse_bundle, version.evaluation)
    assert "another model's?" in failed(tagged(version), now)["own detections"]


def test_fault_29_a_version_without_files_blocks(version: Version, now: CurrentTest, tmp_path: Path) -> None:
    empty = Version(version.number, version.tags, [], tmp_path / "none", tmp_path / "none")
    found = failed(empty, now)
    assert found["bundle"] == "expected manifest.json, found none"
    assert found["detections"] == "expected detections.json, found none"


@pytest.mark.parametrize("name", ["python_model.pkl", "artifacts/model.pt", "artifacts/model.pt2", "data.npz", "a.zip"])
def test_fault_27_a_version_with_a_pickle_is_not_loaded(version: Version, now: CurrentTest, name: str) -> None:
    strange = Version(version.number, version.tags, ["MLmodel", name], version.bundle, version.evaluation)
    assert failed(strange, now) == {"files": f"expected none but known kinds of files, got {name}; nothing was loaded"}


def test_a_version_whose_predict_fails_in_a_fresh_process_blocks(
    client: MlflowClient, good: str, like: Clone, here: Path
) -> None:
    challenger = like()
    source = Path(_registry.find_version(client, challenger).source.removeprefix("file://"))
    (source / "_served_model.py").write_text("raise RuntimeError('the disc slipped')\n")
    point(client, champion=good, challenger=challenger)
    assert promote.main([]) == promote.REJECTED
    reason = read_decision(here, f"{challenger}-against-{good}")["reasons"][0]
    assert reason.startswith("load-back: loaded back, it doesn't predict")
    assert "the disc slipped" in reason
    assert _registry.aliases(client)[CHAMPION] == good


@pytest.mark.usefixtures("loaded_back")
def test_champion_of_another_test_part_is_tested_again_without_patients_it_knows(
    client: MlflowClient, good: str, like: Clone, worse_bundle: Path, here: Path, tmp_path: Path
) -> None:
    listing = json.loads((here / "artifacts" / "evaluate" / "detections.json").read_text())
    split = json.loads((here / "artifacts" / "split.json").read_text())
    old = tmp_path / "old"
    old.mkdir()
    known = split["test"][:3]
    (old / "detections.json").write_text(json.dumps({**listing, "test_md5": "0" * 32}))
    (old / "split.json").write_text(json.dumps({**split, "train": known, "test": split["test"][3:]}))
    champion = like(worse_bundle, [old / "detections.json", old / "split.json"])
    for least, outcome in ((9, "PROMOTE"), (10, "HOLD")):
        write_protocol(here / "promotion.yaml", min_patients=least)
        point(client, champion=champion, challenger=good)
        client.set_model_version_tag(MODEL, good, DECISION_TAG, "")
        assert promote.main([]) == 0
        decision = read_decision(here, f"{good}-against-{champion}")
        assert decision["decision"] == outcome
        assert "tested again on the current test part" in decision["remarks"][0]
        assert "3 of 12 test patients were in the champion's training" in decision["remarks"][1]
        assert {row["num_patients"] for row in decision["changes"] if row["patients"] == "all patients"} == {9}
    assert "9 of 12 test patients can be compared, expected at least 10" in decision["reasons"][0]


@pytest.mark.usefixtures("loaded_back")
def test_fault_13_nothing_moves_where_the_decision_cannot_be_logged(
    client: MlflowClient, good: str, worse: str, here: Path, registry: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The database refuses every write, as one that is locked or read-only does."""
    client.set_model_version_tag(MODEL, good, DECISION_TAG, "")
    point(client, champion=worse, challenger=good)
    database = sqlite3.connect(registry.removeprefix("sqlite:///"))
    for act in ("INSERT", "UPDATE"):
        refusal = "BEGIN SELECT RAISE(ABORT, 'read-only'); END"
        database.execute(f"CREATE TRIGGER refuse_{act} BEFORE {act} ON model_version_tags {refusal}")
    try:
        assert promote.main([]) == 1
    finally:
        for act in ("INSERT", "UPDATE"):
            database.execute(f"DROP TRIGGER refuse_{act}")
        database.close()
    said = capsys.readouterr().err
    assert said.startswith("error: could not decide, nothing was moved: MLflow:")
    assert said.count("\n") == 1
    assert _registry.aliases(client) == {CHAMPION: worse, CHALLENGER: good}
    assert read_decision(here, f"{good}-against-{worse}")["decision"] == "PROMOTE"


@pytest.mark.usefixtures("loaded_back")
def test_a_move_cut_between_its_steps_is_made_again(
    client: MlflowClient, good: str, worse: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.set_model_version_tag(MODEL, good, DECISION_TAG, "")
    point(client, champion=worse, challenger=good)

    def cut(*_: object) -> None:
        raise MlflowException("the power went")

    with monkeypatch.context() as patch:
        patch.setattr(_registry, "name_champion", cut)
        assert promote.main([]) == 1
    assert _registry.aliases(client) == {CHAMPION: worse, CHALLENGER: good, PREVIOUS: worse}
    assert promote.main([]) == 0
    assert _registry.aliases(client) == {CHAMPION: good, CHALLENGER: good, PREVIOUS: worse}
    assert (here / "promotions" / f"{good}-against-{worse}.md").is_file()


def test_what_cannot_be_decided_is_one_line(
    client: MlflowClient, good: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    point(client)
    assert promote.main([]) == 0
    assert "no challenger of meddet is registered" in capsys.readouterr().out
    point(client, challenger=good)
    (here / "artifacts" / "evaluate" / "detections.json").unlink()
    for arguments in ([], ["--version", "999"], ["--protocol", "none.yaml"]):
        assert promote.main(arguments) == 1
        said = capsys.readouterr().err
        assert said.startswith("error: could not decide, nothing was moved: ")
        assert said.count("\n") == 1
    with pytest.raises(SystemExit):
        promote.main(["--rollback"])
    assert _registry.aliases(client) == {CHALLENGER: good}
