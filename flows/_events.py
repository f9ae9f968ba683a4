"""Events for Prefect that wait on the disk until its server has taken them."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from meddet.files import read_json, write_json

RESOURCE = "meddet.data"
Post = Callable[[Sequence[Mapping[str, Any]]], None]


@dataclass
class Outbox:
    """What has been announced, and what of it the server hasn't taken yet."""

    path: Path
    alarm: int = 0
    """Number of the last alarm that was announced."""
    data: str = ""
    """md5 of the last new data that were announced."""
    pending: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, payload: Mapping[str, Any]) -> None:
        """Prepare an event; its id lets the server know it again where it is sent twice."""
        self.pending.append(
            {
                "id": str(uuid.uuid4()),
                "event": name,
                "occurred": datetime.now(UTC).isoformat(),
                "resource": {"prefect.resource.id": RESOURCE, "prefect.resource.name": "MedDet's data"},
                "payload": dict(payload),
            }
        )

    def keep(self) -> None:
        """Write it to the disk."""
        write_json(self.path, {name: value for name, value in asdict(self).items() if name != "path"})

    def send(self, post: Post) -> int:
        """Hand the events over in their order, each until it is taken; give their number.

        Errors:
            What `post` raises: the event and those after it stay.
        """
        count = len(self.pending)
        while self.pending:
            post(self.pending[:1])
            del self.pending[0]
            self.keep()
        return count


def read_outbox(path: Path) -> Outbox:
    """Read the outbox, empty where there is none.

    Errors:
        ValueError: not an outbox.
    """
    if not path.exists():
        return Outbox(path)
    try:
        return Outbox(path, **read_json(path))
    except TypeError as error:
        raise ValueError(f"{path}: expected events that wait for Prefect, got an error: {error}") from None
