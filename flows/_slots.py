"""Who has which pool: taken for one stage, given back, left out while its worker is gone or after it refused."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from prefect.client.orchestration import SyncPrefectClient

from flows._dvc import StageFailed
from flows._pulse import Pulse

PATIENCE_S = 900.0
_LOOK_S = 1.0


class Slots:
    """The pools of one graph run, shared by its threads."""

    def __init__(self, pools: Sequence[str]) -> None:
        self.pulse = Pulse()
        self._free = Counter(pools)
        self._in_use: Counter[str] = Counter()
        self._refused: dict[str, str] = {}
        self._lock = threading.Lock()

    def take(
        self, client: SyncPrefectClient, stage: str, *, say: Callable[[str], None], check: Callable[[], None]
    ) -> str:
        """Wait for a pool with a live worker: as long as another stage has one, else fifteen minutes.

        Args:
            client: of Prefect's server.
            stage: for which.
            say: gets a line where it must wait for a worker.
            check: is called at every look, and may raise to end the wait.

        Errors:
            StageFailed: every pool refused, or none came back in time.
        """
        alone_since: float | None = None
        while True:
            check()
            alive = [pool for pool in self._open() if self.pulse.alive(client, pool)]
            with self._lock:
                if len(self._refused) == len(self._free):
                    told = "; ".join(f"pool {pool}: {line}" for pool, line in self._refused.items())
                    raise StageFailed(stage, None, f"no pool can run it: {told}")
                for pool in alive:
                    if self._in_use[pool] < self._free[pool]:
                        self._in_use[pool] += 1
                        return pool
                waits_for_others = self._in_use.total() > 0
            if waits_for_others:
                alone_since = None
            elif alone_since is None:
                alone_since = time.monotonic()
                say(f"no worker is alive in {', '.join(self._open())}; waiting {PATIENCE_S / 60:.0f} minutes for one")
            elif time.monotonic() - alone_since > PATIENCE_S:
                raise StageFailed(stage, None, f"no worker came back in {', '.join(self._open())}")
            time.sleep(_LOOK_S)

    def give_back(self, pool: str) -> None:
        """End what `take` began."""
        with self._lock:
            self._in_use[pool] -= 1

    def refuse(self, pool: str, line: str) -> None:
        """Leave the pool out from now on, because of what it said."""
        with self._lock:
            self._refused[pool] = line

    def _open(self) -> list[str]:
        with self._lock:
            return [pool for pool in self._free if pool not in self._refused]
