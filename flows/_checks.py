"""Checks of a version before a number of it counts.

Those of the first round read tags, names and hashes alone; a version that fails one of them is not loaded.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from flows._gate import Check
from flows._load_back import load_back, predictions
from flows._protocol import Integrity
from flows._tags import BUNDLE_TAG, CODE_TAG, DETECTIONS_TAG, LINEAGE, LOADED_TAG, MODEL

if TYPE_CHECKING:
    from meddet.evaluate.scored import Scored
    from meddet.structures import Detections

_KNOWN_FILES = {"", ".css", ".j2", ".js", ".json", ".md", ".onnx", ".py", ".safetensors", ".txt", ".yaml", ".yml"}
"""What a version of ours consists of. No pickle is among them, nor an archive that could hold one."""
_SAME_BOX_PX, _SAME_SCORE, _SAME_SHARE = 0.5, 0.01, 0.9


@dataclass(frozen=True)
class Version:
    """A version of the registry, with local copies of what the promotion needs of it."""

    number: str
    tags: Mapping[str, str]
    files: Sequence[str]
    """All its files, by their paths in the registry."""
    bundle: Path
    """Folder; absent where the version has none."""
    evaluation: Path
    """Folder; absent where the version has none."""


@dataclass(frozen=True)
class CurrentTest:
    """The project's frozen test part as it is now."""

    test_md5: str
    patients: frozenset[str]
    images: Mapping[int, Path]
    """Canonical files by image id."""


def check_files(version: Version, now: CurrentTest, *, uncommitted: str) -> list[Check]:
    """Make the checks of the first round: lineage, files, bundle, detections, split."""
    rules: dict[str, Callable[[], str]] = {
        "lineage": lambda: _lineage(version.tags, uncommitted),
        "files": lambda: _known_files(version),
        "bundle": lambda: _bundle(version),
        "detections": lambda: _detections(version),
        "split": lambda: _split(version, now),
    }
    return [_check(name, rule) for name, rule in rules.items()]


def check_behaviour(version: Version, scored: "Scored", now: CurrentTest, *, settings: Integrity) -> list[Check]:
    """Make the checks of the second round on a few test images, until one fails: export, load-back, own detections."""
    chosen = sorted(now.images)[: settings.images]
    paths = [now.images[image_id] for image_id in chosen]
    rules: dict[str, Callable[[], str]] = {
        "export": lambda: _export(version, paths, settings),
        "load-back": lambda: _load_back(version, paths),
        "own detections": lambda: _own_detections(version, scored, dict(zip(chosen, paths, strict=True))),
    }
    checks = []
    for name, rule in rules.items():
        checks.append(_check(name, rule))
        if not checks[-1].passed:
            break
    return checks


def read_training_patients(version: Version) -> frozenset[str] | None:
    """List the patients of the version's training and validation parts; None where it doesn't say them.

    Errors:
        ValueError: its split.json is not what the stage split writes.
    """
    from meddet.files import read_json

    path = version.evaluation / "split.json"
    if not path.is_file():
        return None
    split = read_json(path)
    if not isinstance(split, dict) or not all(isinstance(split.get(part), list) for part in ("train", "validation")):
        raise ValueError(f"{path}: expected lists of patients for train and validation")
    return frozenset(split["train"]) | frozenset(split["validation"])


def require_tag(path: Path, version: Version, tag: str) -> None:
    """Refuse a file that isn't the one whose SHA-256 the version's tag holds.

    Errors:
        ValueError: no such file, or another.
    """
    if not path.is_file():
        raise ValueError(f"expected {path.name}, found none")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != version.tags.get(tag):
        raise ValueError(f"{path.name} is not the file that the tag {tag} holds the hash of: it was changed")


def _check(name: str, rule: Callable[[], str]) -> Check:
    try:
        return Check(name, passed=True, detail=rule())
    except ValueError as error:
        return Check(name, passed=False, detail=" ".join(str(error).split())[:300])


def _lineage(tags: Mapping[str, str], uncommitted: str) -> str:
    missing = [tag for tag in LINEAGE if tags.get(tag, "unknown") in ("", "None", "unknown")]
    if missing:
        raise ValueError(f"expected to know {', '.join(missing)}")
    if uncommitted == "refuse" and tags.get("git.dirty") != "false":
        raise ValueError("made from a tree with uncommitted changes; commit them and train again")
    return f"revision {tags['git.revision'][:12]}, data {tags['data.md5'][:12]}"


def _known_files(version: Version) -> str:
    strange = [name for name in version.files if PurePosixPath(name).suffix not in _KNOWN_FILES]
    if strange:
        raise ValueError(f"expected none but known kinds of files, got {', '.join(strange[:3])}; nothing was loaded")
    if version.tags.get(LOADED_TAG) != "equal":
        raise ValueError(f"expected the tag {LOADED_TAG} to be equal, got {version.tags.get(LOADED_TAG)}")
    return f"{len(version.files)} files of known kinds, no pickle"


def _bundle(version: Version) -> str:
    from meddet.bundle_config import verified

    require_tag(version.bundle / "manifest.json", version, BUNDLE_TAG)
    manifest = verified(version.bundle)
    for key, tag in (("data_md5", "data.md5"), ("code_sha256", CODE_TAG)):
        if str(manifest.get(key)) != version.tags.get(tag):
            raise ValueError(f"its manifest says {key} {manifest.get(key)}, its tag {tag} {version.tags.get(tag)}")
    return "every file has the hash in its manifest, and the manifest the one in the tag"


def _detections(version: Version) -> str:
    require_tag(version.evaluation / "detections.json", version, DETECTIONS_TAG)
    return "detections.json has the hash in its tag"


def _split(version: Version, now: CurrentTest) -> str:
    from meddet.evaluate.scored import read_scored

    scored = read_scored(version.evaluation / "detections.json")
    if scored.test_md5 != now.test_md5:
        raise ValueError(f"stale: tested on another test part ({scored.test_md5[:12]}, now {now.test_md5[:12]})")
    known = read_training_patients(version)
    if known is None:
        raise ValueError("expected split.json with the version, found none")
    if shared := known & now.patients:
        raise ValueError(f"{len(shared)} patients of the test part were in its own training or validation part")
    return f"tested on the current test part {now.test_md5[:12]}, with none of whose patients it was trained"


def _export(version: Version, paths: Sequence[Path], settings: Integrity) -> str:
    import torch

    from meddet.bundle import Tolerance, check_parity
    from meddet.data.images import read_canonical

    images = [torch.from_numpy(read_canonical(path))[None] for path in paths]
    tolerance = Tolerance(box_px=settings.box_tolerance_px, score=settings.score_tolerance)
    parity = check_parity(version.bundle, images, tolerance=tolerance)
    return f"ONNX within {parity.box_px:.2g} px and {parity.score:.2g} of torch on {parity.images} images"


def _load_back(version: Version, paths: Sequence[Path]) -> str:
    trouble = load_back(f"models:/{MODEL}/{version.number}", paths, predictions(version.bundle, paths))
    if trouble:
        raise ValueError(trouble)
    return f"a fresh process predicts the same on {len(paths)} images"


def _own_detections(version: Version, scored: "Scored", images: Mapping[int, Path]) -> str:
    """Whether the bundle finds what detections.json says: else the numbers are another model's."""
    from meddet.bundle import load_bundle
    from meddet.data.images import read_canonical

    bundle = load_bundle(version.bundle)
    written = dict(zip(scored.image_ids, scored.detections, strict=True))
    same = both = 0
    for image_id, path in images.items():
        found, _ = bundle.predict(read_canonical(path))
        same += 2 * _in_common(found, written[image_id])
        both += len(found.scores) + len(written[image_id].scores)
    if same < _SAME_SHARE * both:
        raise ValueError(f"of {both} detections, computed again and written down, {same} agree; another model's?")
    return f"the bundle finds again what detections.json says on {len(images)} images"


def _in_common(found: "Detections", written: "Detections") -> int:
    same = (found.boxes[:, None] - written.boxes).abs().amax(dim=-1) <= _SAME_BOX_PX
    same &= (found.scores[:, None] - written.scores).abs() <= _SAME_SCORE
    same &= found.labels[:, None] == written.labels
    return min(int(same.any(dim=0).sum()), int(same.any(dim=1).sum()))
