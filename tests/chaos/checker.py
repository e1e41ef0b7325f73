"""Reads a whole history and the ledger, and says what is wrong. Knows the invariants by heart.

Every submit that was acknowledged: one terminal state, at most one commit, the right bytes stored
and served, epochs and percentages that never go back. Every submit that was refused: no job. When
all is done: nothing queued, running or held, no key without a time to live, no blob that nobody
refers to.
"""

import io
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np
import redis
from PIL import Image

from shared.blobs import FolderBlobs
from shared.errors import ImageNotFound
from shared.jobs import Event, Job, JobState
from shared.ledger.records import read_event
from shared.ledger.store import JobStore
from tests.chaos.history import History
from tests.support.embedded_store import keys_without_ttl
from worker.engine.interface import StopFlag
from worker.engine.testing.fake import fake_picture
from worker.job.attempt import engine_job
from worker.job.sources import load_source

# The stream of one job is short; these events are all that it has had.
TERMINAL = {str(state) for state in JobState if state.is_terminal}


class Checker:
    """Looks at one history after its end; `violations` has a sentence for each thing wrong."""

    def __init__(
        self,
        client: redis.Redis,
        store: JobStore,
        blobs: FolderBlobs,
        blob_folder: Path,
        history: History,
    ) -> None:
        self._client = client
        self._store = store
        self._blobs = blobs
        self._blob_folder = blob_folder
        self._history = history
        self.violations: list[str] = []

    def check(self) -> list[str]:
        """All invariants; the sentences that do not hold."""
        # A submit without an answer may have been executed: such a job keeps the same promises.
        recorded = set(self._recorded())
        acknowledged = {line["job"] for line in self._history.lines("submitted")}
        for job_id in acknowledged - recorded:
            self._claim(False, f"{job_id} was acknowledged and is lost")
        self._check_refusals(recorded)
        jobs = {job_id: self._store.get(job_id) for job_id in recorded}
        for job in jobs.values():
            self._check_job(job)
        self._check_claims()
        self._check_commits(jobs)
        self._check_served(jobs)
        self._check_acknowledged_cancels()
        self._check_ledger()
        self._check_blobs(jobs.values())
        return self.violations

    def _recorded(self) -> list[str]:
        keys = (str(key) for key in self._client.scan_iter("job:*", count=1000))
        return [key.removeprefix("job:") for key in keys if not key.endswith(":events")]

    def _claim(self, holds: bool, sentence: str) -> None:
        if not holds:
            self.violations.append(sentence)

    def _check_refusals(self, recorded: set[str]) -> None:
        for line in self._history.lines("refused"):
            # Without an answer nobody knows, and either is right.
            if line["code"] != "store_unavailable":
                self._claim(line["job"] not in recorded, f"{line['job']} was refused and is there")

    def _check_claims(self) -> None:
        claims = Counter((line["job"], line["epoch"]) for line in self._history.lines("claimed"))
        twice = [claim for claim, count in claims.items() if count > 1]
        self._claim(not twice, f"claims that two workers have: {twice}")

    def _check_commits(self, jobs: Mapping[str, Job]) -> None:
        commits = self._history.lines("committed")
        times = Counter(line["job"] for line in commits)
        for job_id, count in times.items():
            self._claim(count == 1, f"{job_id} was committed twice")
        for line in commits:
            job = jobs.get(line["job"])
            made = job.result.blob if job and job.result else None
            own = f"{line['job']}-{line['epoch']}."
            self._claim(made is not None and own in made, f"{line['job']} has another's result")

    def _check_served(self, jobs: Mapping[str, Job]) -> None:
        for line in self._history.lines("served"):
            job = jobs.get(line["job"])
            right = job.result.sha256 if job and job.result else None
            self._claim(line["sha256"] == right, f"{line['job']}: other bytes were served")

    def _check_job(self, job: Job) -> None:
        entries = self._client.xrange(f"job:{job.id}:events")
        events = [read_event(*entry) for entry in entries]
        self._check_events(job, events)
        self._check_epochs(job, [(entry[1], read_event(*entry)) for entry in entries])
        if job.state is JobState.SUCCEEDED:
            self._check_bytes(job)
        else:
            self._claim(job.result is None, f"{job.id} is {job.state} and has a result")
        if job.state is JobState.FAILED:
            self._claim(job.failure is not None, f"{job.id} failed without saying why")

    def _check_events(self, job: Job, events: list[Event]) -> None:
        states = [str(event.data.get("state")) for event in events if event.kind == "state"]
        states = [state for state in states if state in TERMINAL]
        self._claim(states == [str(job.state)], f"{job.id} is {job.state}, its events say {states}")
        self._claim(bool(events) and events[-1].is_last, f"{job.id} has no last event")
        last = [event for event in events if event.is_last]
        self._claim(len(last) == 1, f"{job.id} ended {len(last)} times")
        percents = [float(event.data["percent"]) for event in events if event.kind == "progress"]
        self._claim(percents == sorted(percents), f"{job.id} went back: {percents}")

    def _check_epochs(self, job: Job, entries: list[tuple[dict[str, str], Event]]) -> None:
        epochs = [int(fields["epoch"]) for fields, _ in entries]
        self._claim(epochs == sorted(epochs), f"{job.id} has an event of an older claim: {epochs}")
        claims = [
            int(fields["epoch"])
            for fields, event in entries
            if event.kind == "state" and event.data.get("state") == JobState.RUNNING
        ]
        self._claim(len(set(claims)) == len(claims), f"{job.id} has one epoch twice: {claims}")

    def _check_bytes(self, job: Job) -> None:
        assert job.result is not None
        try:
            data = self._blobs.get(job.result.blob)
        except ImageNotFound:
            self._claim(False, f"{job.id} succeeded and its picture is gone")
            return
        self._claim(sha256(data).hexdigest() == job.result.sha256, f"{job.id}: other bytes")
        source = load_source(self._blobs.get(job.spec.source.blob), job.params)
        expected = fake_picture(engine_job(source, job.params, (), StopFlag()))
        made = np.asarray(Image.open(io.BytesIO(data)))
        self._claim(bool(np.array_equal(made, expected)), f"{job.id}: the wrong picture")

    def _check_acknowledged_cancels(self) -> None:
        for line in self._history.lines("cancel", acknowledged=True):
            state = self._store.get(line["job"]).state
            self._claim(state is JobState.CANCELED, f"{line['job']} is {state} after a cancel")

    def _check_ledger(self) -> None:
        lasting = keys_without_ttl(self._client)
        self._claim(not lasting, f"keys without a time to live: {lasting}")
        for pattern in ("running", "queued:*", "held:*", "queue:*:*"):
            left = list(self._client.scan_iter(pattern))
            self._claim(not left, f"left in the ledger: {left}")

    def _check_blobs(self, jobs: Iterable[Job]) -> None:
        self._age_temporary_files()
        self._blobs.sweep()
        used = {job.result.blob for job in jobs if job.result}
        used |= {job.preview.blob for job in jobs if job.preview}
        files = (path for path in self._blob_folder.rglob("*") if path.is_file())
        names = {str(path.relative_to(self._blob_folder)) for path in files}
        # An upload lives its time with or without a job.
        orphans = {name for name in names if not name.startswith("sources/")} - used
        self._claim(not orphans, f"blobs that nobody refers to: {sorted(orphans)}")

    def _age_temporary_files(self) -> None:
        # What a killed process was writing goes with the sweep once it is old enough.
        for path in self._blob_folder.rglob(".*"):
            if path.is_file():
                os.utime(path, (0, 0))
