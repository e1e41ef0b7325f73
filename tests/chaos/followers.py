"""Clients that follow a job's events over HTTP, and are cut off at random."""

import http.client
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Seen:
    """What one client was told: event ids in order of arrival, the snapshot's first."""

    job: str
    ids: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    cuts: int = 0
    # Seconds from a reconnection after the job's end to the last event.
    late: list[float] = field(default_factory=list)
    done: bool = False
    error: str | None = None


class Follower(threading.Thread):
    """Reads server-sent events until the last one; with `cuts`, drops its socket in between and
    comes back with `Last-Event-ID`.
    """

    def __init__(self, address: str, job: str, cuts: int, seed: int) -> None:
        super().__init__(daemon=True)
        parts = urlsplit(address)
        assert parts.hostname is not None
        self._host, self._port = parts.hostname, parts.port
        self._cuts = cuts
        self._random = random.Random(seed)
        self.seen = Seen(job)

    def run(self) -> None:
        try:
            while not self.seen.done:
                cut_after = self._random.randint(1, 4) if self.seen.cuts < self._cuts else None
                self._read(cut_after)
        except (OSError, http.client.HTTPException) as error:
            self.seen.error = repr(error)

    def _read(self, cut_after: int | None) -> None:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=60)
        headers = {"Last-Event-ID": self.seen.ids[-1]} if self.seen.ids else {}
        began = time.monotonic()
        connection.request("GET", f"/v1/jobs/{self.seen.job}/events", headers=headers)
        response = connection.getresponse()
        assert response.status == 200, response.status
        count = 0
        for event in _events(response):
            self._note(event, began)
            count += 1
            if self.seen.done or count == cut_after:
                break
        if not self.seen.done and count == cut_after:
            self.seen.cuts += 1
            assert connection.sock is not None
            connection.sock.close()
            time.sleep(self._random.uniform(0, 2))
        connection.close()

    def _note(self, event: dict[str, str], began: float) -> None:
        self.seen.ids.append(event["id"])
        self.seen.kinds.append(event["event"])
        if event["event"] in ("result", "error"):
            self.seen.done = True
            if len(self.seen.ids) > 1 and self.seen.cuts:
                self.seen.late.append(time.monotonic() - began)


def _events(response: http.client.HTTPResponse) -> Iterator[dict[str, str]]:
    event: dict[str, str] = {}
    while line := response.readline().decode():
        name, _, value = line.rstrip("\r\n").partition(":")
        if name in ("id", "event", "data"):
            event[name] = value.strip()
        elif not line.strip() and event:
            yield event
            event = {}
