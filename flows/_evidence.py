"""What a promotion is decided on: checks of the version, then its numbers beside the champion's, patient by patient."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows._checks import CurrentTest, Version, check_behaviour, check_files, read_training_patients, require_tag
from flows._gate import Cost, Evidence
from flows._processes import stream
from flows._protocol import Latency, Protocol
from flows._tags import BUNDLE_TAG, DETECTIONS_TAG

if TYPE_CHECKING:
    from meddet.bundle import Bundle
    from meddet.evaluate.scored import Scored

_EVALUATE_LIMIT_S = 3600.0


@dataclass(frozen=True)
class Collected:
    """The evidence, and what a reader of it must know."""

    evidence: Evidence
    operating: dict[str, Any]
    """`operating_numbers` of the challenger; empty where a check failed."""
    remarks: tuple[str, ...]


def read_test_part(project: Path) -> CurrentTest:
    """Read the project's test part as it is now.

    Errors:
        ValueError: the graph hasn't been run here.
    """
    from meddet.data.coco import read_coco
    from meddet.evaluate.scored import read_scored

    artifacts = project / "artifacts"
    now = read_scored(artifacts / "evaluate" / "detections.json")
    files = {
        sample.image_id: artifacts / "images" / sample.file_name
        for sample in read_coco(artifacts / "coco.json").samples
    }
    missing = [image_id for image_id in now.image_ids if not files.get(image_id, artifacts / "none").is_file()]
    if missing:
        raise ValueError(f"{artifacts}/images: expected the test images, found none of id {missing[0]}; run the graph")
    return CurrentTest(now.test_md5, frozenset(now.patients), {image_id: files[image_id] for image_id in now.image_ids})


def collect(
    project: Path, challenger: Version, champion: Version | None, *, protocol: Protocol, scratch: Path
) -> Collected:
    """Check the challenger, and where its checks hold, measure it beside the champion.

    Args:
        project: whose test part counts.
        challenger: is to be decided on.
        champion: None where there is none yet.
        protocol: says what is measured.
        scratch: an empty folder.

    Errors:
        ValueError: what the project or the champion lacks, so that nothing can be decided.
    """
    from meddet.evaluate.operation import operating_numbers
    from meddet.evaluate.paired import paired_bootstrap, paired_by_group
    from meddet.evaluate.scored import read_scored

    now = read_test_part(project)
    checks = check_files(challenger, now, uncommitted=protocol.integrity.uncommitted)
    if all(check.passed for check in checks):
        scored = read_scored(challenger.evaluation / "detections.json")
        checks += check_behaviour(challenger, scored, now, settings=protocol.integrity)
    if not all(check.passed for check in checks):
        return Collected(Evidence(tuple(checks), {}, len(now.patients), None, None, None, {}), {}, ())
    remarks: list[str] = []
    options = {"resamples": protocol.comparison.resamples, "seed": protocol.comparison.seed}
    operating = operating_numbers(scored, **options)
    differences, groups = None, {}
    if champion is not None:
        reference, remark = _champion_scored(project, champion, now, scratch)
        compared, leak = _compared_patients(champion, now)
        remarks += [each for each in (remark, leak) if each]
        differences = paired_bootstrap(reference, scored, patients=compared, **options)
        groups = paired_by_group(reference, scored, patients=compared, **options)
    costs, remark = _costs(challenger, champion, now, protocol.latency)
    remarks += [remark] if remark else []
    evidence = Evidence(
        checks=tuple(checks),
        numbers=operating["metrics"],
        num_patients=len(now.patients),
        cost=costs["challenger"],
        champion_cost=costs.get("champion"),
        differences=differences,
        groups=groups,
    )
    return Collected(evidence, operating, tuple(remarks))


def _champion_scored(project: Path, champion: Version, now: CurrentTest, scratch: Path) -> "tuple[Scored, str | None]":
    """Read what the champion found on the current test part; where it was tested on another, test it again."""
    from meddet.evaluate.scored import read_scored

    path = champion.evaluation / "detections.json"
    try:
        require_tag(path, champion, DETECTIONS_TAG)
        scored = read_scored(path)
        if scored.test_md5 == now.test_md5:
            return scored, None
        reason = f"it had been tested on another test part, {scored.test_md5[:12]}"
    except ValueError as error:
        reason = str(error)
    try:
        require_tag(champion.bundle / "manifest.json", champion, BUNDLE_TAG)
    except ValueError as error:
        raise ValueError(f"champion, version {champion.number}: can't be tested again: {error}") from None
    out = scratch / "champion"
    command = ["meddet.cli", "evaluate", str(champion.bundle), "--out", str(out)]
    status, said = stream(command, folder=project, write=_show, timeout_s=_EVALUATE_LIMIT_S)
    if status:
        last = (said.strip().splitlines() or ["no message"])[-1]
        raise ValueError(f"champion, version {champion.number}: testing it again failed ({status}): {last[:200]}")
    scored = read_scored(out / "detections.json")
    if scored.test_md5 != now.test_md5:
        raise ValueError(
            "artifacts/evaluate/detections.json: expected the test part of artifacts/split.json, got another"
        )
    return scored, f"the champion was tested again on the current test part: {reason}"


def _show(text: str, is_progress: bool) -> None:
    if not is_progress:
        print(f"  champion: {text}", file=sys.stderr, flush=True)


def _compared_patients(champion: Version, now: CurrentTest) -> tuple[frozenset[str], str | None]:
    """Leave out the test patients whom the champion was trained on: it would look better than it is."""
    known = read_training_patients(champion)
    if known is None:
        return now.patients, "the champion doesn't say which patients it was trained on; nobody could be left out"
    left_out = now.patients & known
    if not left_out:
        return now.patients, None
    remark = (
        f"{len(left_out)} of {len(now.patients)} test patients were in the champion's training or validation part and "
        "are left out of the comparison"
    )
    return now.patients - left_out, remark


def _costs(
    challenger: Version, champion: Version | None, now: CurrentTest, settings: Latency
) -> tuple[dict[str, Cost], str | None]:
    """Time both bundles in ONNX Runtime, image by image in turns; without the champion where it can't be loaded."""
    from meddet.bundle import load_bundle
    from meddet.data.images import read_canonical
    from meddet.latency import interleaved

    bundles, remark = {"challenger": load_bundle(challenger.bundle, engine="onnx")}, None
    if champion is not None:
        try:
            require_tag(champion.bundle / "manifest.json", champion, BUNDLE_TAG)
            bundles["champion"] = load_bundle(champion.bundle, engine="onnx")
        except ValueError as error:
            remark = f"the champion's bundle can't be used, so its time wasn't measured: {error}"
    images = [read_canonical(now.images[image_id]) for image_id in sorted(now.images)[: settings.images]]
    runs = {name: _detection(bundle, images) for name, bundle in bundles.items()}
    timings = interleaved(runs, warmup=settings.warmup, rounds=range(settings.rounds))
    folders = {"challenger": challenger.bundle} | ({"champion": champion.bundle} if champion else {})
    return {
        name: Cost(
            latency_p50_ms=timing.p50_ms / len(images),
            size_mb=sum(path.stat().st_size for path in folders[name].iterdir()) / 1e6,
        )
        for name, timing in timings.items()
    }, remark


def _detection(bundle: "Bundle", images: Sequence[Any]) -> Any:
    def run() -> None:
        for pixels in images:
            bundle.predict(pixels)

    return run
