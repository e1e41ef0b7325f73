"""LoRA files from an object store: a folder of this machine that follows a bucket's prefix.

Owns the folder, which holds nothing else. A file is fetched when its tag has changed, and appears
complete; one that is gone from the bucket is deleted here. The catalogue's watcher sees the rest.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from uuid import uuid4

import structlog

from shared.errors import RetouchError
from shared.object_store import open_store, refusals_in_words
from shared.periodic import Periodic
from shared.settings import Settings

SYNC_SECONDS = 60.0
ENDINGS = (".safetensors", ".toml", ".json", ".info", ".png", ".jpg", ".jpeg", ".webp")
TAGS = ".synced.json"
LOCK = ".lock"

logger = structlog.get_logger(__name__)


class LoraSync:
    """Follows a bucket in a thread of its own. `start` and `stop` come in pairs."""

    def __init__(self, url: str, folder: Path) -> None:
        self._obstore, self._store = open_store(url, "RETOUCH_LORAS_URL")
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._loop = Periodic("lora-sync", self._round, SYNC_SECONDS)

    def start(self, wait: bool = False) -> None:
        """Starts following. `wait`: the files that are there now are fetched before it returns;
        without the bucket it goes on with those that were fetched before.
        """
        if wait:
            try:
                self.sync()
            except RetouchError as error:
                logger.warning("LoRAs not fetched", reason=str(error))
        self._loop.start(at_once=not wait)

    def stop(self) -> None:
        self._loop.stop()

    def sync(self) -> list[str]:
        """One round; the files that changed. Raises StoreRefuses, StoreUnavailable.

        Of several processes with this folder, one at a time does the work.
        """
        with self._alone() as is_mine:
            return self._sync() if is_mine else []

    def _round(self) -> None:
        self.sync()

    def _sync(self) -> list[str]:
        known, there = self._known(), dict(self._listed())
        changed = [name for name, tag in there.items() if known.get(name) != tag]
        for name in changed:
            self._fetch(name)
            # Noted at once: an interrupted round fetches nothing twice.
            known[name] = there[name]
            self._note(known)
        gone = [name for name in known if name not in there]
        for name in gone:
            (self._folder / name).unlink(missing_ok=True)
            del known[name]
        if changed or gone:
            self._note(known)
            logger.info("LoRAs synchronised", fetched=len(changed), deleted=len(gone))
        return [*changed, *gone]

    def _listed(self) -> Iterator[tuple[str, str]]:
        with refusals_in_words():
            for found in self._obstore.list(self._store):
                for item in found:
                    if is_fitting(item["path"]):
                        yield item["path"], str(item["e_tag"] or item["last_modified"])

    def _fetch(self, name: str) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        growing = path.with_name(f".{uuid4().hex}")
        try:
            with refusals_in_words(), growing.open("wb") as file:
                for part in self._obstore.get(self._store, name):
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            growing.replace(path)
        finally:
            growing.unlink(missing_ok=True)

    def _known(self) -> dict[str, str]:
        try:
            known: dict[str, str] = json.loads((self._folder / TAGS).read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return {name: tag for name, tag in known.items() if (self._folder / name).exists()}

    def _note(self, known: Mapping[str, str]) -> None:
        growing = self._folder / f"{TAGS}.{os.getpid()}"
        growing.write_text(json.dumps(known))
        growing.replace(self._folder / TAGS)

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        with (self._folder / LOCK).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True


def is_fitting(name: str) -> bool:
    """Whether an object belongs to a LoRA, and its name stays inside the folder."""
    parts = PurePosixPath(name).parts
    hidden = any(part.startswith(".") for part in parts)
    return not hidden and not name.startswith("/") and name.lower().endswith(ENDINGS)


def lora_sync(settings: Settings) -> LoraSync | None:
    """What follows the bucket that the settings name, if they do."""
    if not settings.loras_url:
        return None
    return LoraSync(settings.loras_url, settings.synced_loras)
