"""`python -m flows.promote`: may the challenger replace the champion? The written protocol decides."""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flows._environment import prefect_home, set_environment
from flows._gate import decide
from flows._lock import Busy, exclusive
from flows._processes import Interrupted, ended_by_signals
from flows._protocol import Protocol, load_protocol
from flows._summary import NOTICE
from flows._tags import CHALLENGER, CHAMPION, DECISION_TAG, MODEL, PREVIOUS, PROMOTED, REASON_TAG, ROLLED_BACK

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from flows._checks import Version

FOLDER = "promotions"
REJECTED = 6
SHOWN = 10
_UNDECIDED = 1
_EPILOG = f"""what happens:
  PROMOTE  `previous` names the old champion, `champion` the challenger                    exit 0
  HOLD     not shown to be better (a tie holds), or too few patients; nothing moves        exit 0
  REJECT   a check or a floor failed, or something got worse; nothing moves                exit {REJECTED}
  could not decide (MLflow away, no artifacts, a damaged champion); nothing moves          exit {_UNDECIDED}

The decision with every number and reason is written to {FOLDER}/<version>-against-<champion>.md and .json with its
pictures, then to MLflow (the version's tags promotion.*, its run's artifacts), and only then a name moves.

examples:
  python -m flows.promote                                   the challenger
  python -m flows.promote --version 7                       this version, also one that was rolled back
  python -m flows.promote --rollback --reason "misses C7/T1 on the new scanner"

{NOTICE}"""


def main(arguments: list[str] | None = None) -> int:
    """Decide on a version for the project in the working directory, or roll back; return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.rollback != bool(options.reason):
        parser.error("--rollback needs --reason TEXT, and --reason belongs to --rollback")
    project = Path.cwd()
    set_environment(project)
    try:
        with ended_by_signals(), exclusive(prefect_home(project) / "promote.lock"), _registry_errors():
            from mlflow import MlflowClient

            client = MlflowClient()
            if options.rollback:
                return roll_back(client, project, reason=options.reason)
            protocol_file = options.protocol or project / "promotion.yaml"
            return promote(client, project, load_protocol(protocol_file), protocol_file, number=options.version)
    except (Busy, OSError, ValueError) as error:
        said = " ".join(str(error).split())[:400]
        print(f"error: could not decide, nothing was moved: {said}", file=sys.stderr, flush=True)
        return _UNDECIDED
    except Interrupted as signal:
        print(f"\n{signal}; run it again: a decision that was cut short is made anew", file=sys.stderr, flush=True)
        return signal.code


def promote(
    client: "MlflowClient", project: Path, protocol: Protocol, protocol_file: Path, *, number: str | None = None
) -> int:
    """Decide on a version, the challenger unless named; write and log the decision; move the names if it says so.

    Returns:
        the exit code.

    Errors:
        ValueError: it can't be decided.
    """
    from flows import _registry
    from flows._evidence import collect
    from flows._promotion_page import Case, write_case

    mended = _registry.mend_aliases(client)
    if mended:
        print(mended, flush=True)
    named = _registry.aliases(client)
    wanted, current = number or named.get(CHALLENGER), named.get(CHAMPION)
    if wanted is None:
        print(f"no {CHALLENGER} of {MODEL} is registered; nothing to decide (python -m flows.mirror registers one)")
        return 0
    if wanted == current:
        print(f"version {wanted} is the {CHAMPION} already; nothing to decide")
        return 0
    version = _registry.find_version(client, wanted)
    if number is None and version.tags.get(DECISION_TAG) == ROLLED_BACK:
        print(
            f"version {wanted} was rolled back ({version.tags.get(REASON_TAG)}) and is not promoted by itself; "
            f"--version {wanted} decides on it again"
        )
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        challenger = _fetched(version, scratch / "challenger")
        champion = _fetched(_registry.find_version(client, current), scratch / "against") if current else None
        collected = collect(project, challenger, champion, protocol=protocol, scratch=scratch)
    decision = decide(collected.evidence, protocol)
    case = Case(challenger, champion, protocol, protocol_file, collected, decision)
    files = write_case(case, project / FOLDER)
    if _registry.aliases(client).get(CHAMPION) != current:
        raise ValueError(f"expected {CHAMPION} to name {case.against} still, got another; decide again")
    reason = "; ".join(decision.reasons)
    _registry.log_decision(client, version, decision.outcome, reason=reason, against=case.against, files=files)
    if decision.outcome == PROMOTED:
        # In this order: cut between the two, the old champion stays champion, and `mend_aliases` puts `previous` back.
        if current is not None:
            _registry.name_previous(client, current)
        _registry.name_champion(client, wanted)
    print(f"{decision.outcome}: version {wanted} against {case.against}")
    more = len(decision.reasons) - SHOWN
    for line in (*decision.reasons[:SHOWN], *([f"and {more} reasons more"] if more > 0 else []), *collected.remarks):
        print(f"  {line}")
    print(f"  {files[0].relative_to(project)}\n{NOTICE}", flush=True)
    return REJECTED if decision.outcome == "REJECT" else 0


def roll_back(client: "MlflowClient", project: Path, *, reason: str) -> int:
    """Make the version that `previous` names champion again, and mark the one that was.

    Errors:
        ValueError: there is nothing to go back to, or it was changed since it was registered.
    """
    from flows import _registry
    from flows._checks import require_tag
    from flows._promotion_page import write_rollback
    from flows._tags import BUNDLE_TAG
    from meddet.bundle_config import verified

    _registry.mend_aliases(client)
    named = _registry.aliases(client)
    current, back = named.get(CHAMPION), named.get(PREVIOUS)
    if current is None or back is None:
        raise ValueError(f"expected a {CHAMPION} and a {PREVIOUS} to go back to, got {named or 'no version'}")
    with tempfile.TemporaryDirectory() as temporary:
        version = _fetched(_registry.find_version(client, back), Path(temporary))
        require_tag(version.bundle / "manifest.json", version, BUNDLE_TAG)
        verified(version.bundle)
    then = _registry.replaced_by(client, back)
    files = write_rollback(project / FOLDER, current, back, reason=reason)
    rolled_back = _registry.find_version(client, current)
    _registry.log_decision(client, rolled_back, ROLLED_BACK, reason=reason, against=back, files=files)
    # In this order: cut between the two, `previous` names the champion, and `mend_aliases` does the second step.
    _registry.name_champion(client, back)
    _registry.name_previous(client, then)
    print(f"ROLLED BACK: the {CHAMPION} is version {back} again, no longer {current} ({reason})")
    print(f"  {files[0].relative_to(project)}\n{NOTICE}", flush=True)
    return 0


def _fetched(version: "ModelVersion", folder: Path) -> "Version":
    """Copy a version's bundle and evaluation, where it has them."""
    from flows import _registry
    from flows._checks import Version

    files = _registry.list_files(version)
    folder.mkdir(exist_ok=True)
    copies = {
        name: _registry.fetch(version, name, folder)
        for name in ("bundle", "evaluation")
        if any(path.startswith(f"artifacts/{name}/") for path in files)
    }
    absent = folder / "absent"
    return Version(
        str(version.version),
        dict(version.tags),
        files,
        bundle=copies.get("bundle", absent),
        evaluation=copies.get("evaluation", absent),
    )


@contextmanager
def _registry_errors() -> Iterator[None]:
    """Turn what MLflow and its database raise into one line."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        raise ValueError(f"MLflow: {' '.join(str(error).split())[:300]}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flows.promote",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", metavar="N", help="decide on this version instead of the challenger")
    parser.add_argument("--protocol", type=Path, metavar="YAML", help="default: promotion.yaml of the project")
    parser.add_argument("--rollback", action="store_true", help=f"make the {PREVIOUS} version {CHAMPION} again")
    parser.add_argument("--reason", metavar="TEXT", help="why it is rolled back; needed with --rollback")
    return parser


if __name__ == "__main__":
    sys.exit(main())
