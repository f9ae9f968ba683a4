"""What a worker says of a stage to the coordinator: the message of its flow run's last state."""

import json
from dataclasses import asdict, dataclass

LOG = "stage"  # the part of the flow run's log that the coordinator shows


@dataclass(frozen=True)
class Outcome:
    """How it ended: with the run's `state`; with the stage's own `code` and `line`; or `refused` before or after it."""

    state: str = ""
    code: int | None = None
    line: str = ""
    refused: str = ""

    def as_text(self) -> str:
        """Write it as JSON: a state's message is text."""
        return json.dumps({key: value for key, value in asdict(self).items() if value})


def read_outcome(message: str | None) -> Outcome | None:
    """Read it back; None where the run ended without one."""
    try:
        return Outcome(**json.loads(message or ""))
    except (json.JSONDecodeError, TypeError):
        return None
