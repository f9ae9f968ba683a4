"""Which workers are alive: those whose heartbeat moves, by this machine's clock.

The server's own word (OFFLINE) is half a minute late, and wrong of everybody after it was down itself.
"""

import datetime
import threading
import time

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import WorkerStatus

BEATS = 3
_USUAL_BEAT_S = 30
_MARGIN_S = 2.0
_LONGEST_LOOK_S = 3.0


class Pulse:
    """What was seen of the workers' heartbeats.

    Time passes only while we look, so that an outage of the server kills nobody.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clock: dict[str, float] = {}
        self._looked: dict[str, float] = {}
        self._beats: dict[tuple[str, str], tuple[datetime.datetime | None, float]] = {}

    def alive(self, client: SyncPrefectClient, pool: str) -> frozenset[str]:
        """Name the pool's workers whose last beat is no older than three intervals."""
        workers = client.read_workers_for_work_pool(pool)
        with self._lock:
            now = self._tick(pool)
            found = set()
            for worker in workers:
                beat, moved = self._beats.get((pool, worker.name), (None, now))
                if (pool, worker.name) not in self._beats and worker.status is not WorkerStatus.ONLINE:
                    beat, moved = worker.last_heartbeat_time, -float("inf")
                elif beat != worker.last_heartbeat_time:
                    beat, moved = worker.last_heartbeat_time, now
                self._beats[pool, worker.name] = beat, moved
                if now - moved <= BEATS * (worker.heartbeat_interval_seconds or _USUAL_BEAT_S) + _MARGIN_S:
                    found.add(worker.name)
            return frozenset(found)

    def doubt(self, client: SyncPrefectClient, pool: str) -> None:
        """Take the pool's workers for dead until their heartbeat moves again."""
        self.alive(client, pool)
        with self._lock:
            for key, (beat, _) in self._beats.items():
                if key[0] == pool:
                    self._beats[key] = beat, -float("inf")

    def _tick(self, pool: str) -> float:
        now = time.monotonic()
        since = min(now - self._looked.get(pool, now), _LONGEST_LOOK_S)
        self._looked[pool] = now
        self._clock[pool] = self._clock.get(pool, 0.0) + since
        return self._clock[pool]
