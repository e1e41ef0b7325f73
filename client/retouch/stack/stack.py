"""Starts the whole service on this machine in order, and ends it without leaving anything behind.

Owns the order: lock, store, workers and gateway, ready; and back. Everything it creates except logs
and data (lock, address of the store, temporary files) is removed at the end.
"""

import shutil
import time
from collections.abc import Callable

from retouch.address import reachable_url
from retouch.client import Client
from retouch.interrupts import Interrupts
from retouch.stack.lock import FolderLock
from retouch.stack.plan import Parts, StackPlan, plan_parts, store_environment
from retouch.stack.ports import require_free
from retouch.stack.readiness import require_store, waiting_for
from retouch.stack.refusal import Interrupted
from retouch.stack.store import EmbeddedStore
from retouch.stack.supervisor import Supervisor

LOOK_SECONDS = 0.1


class Stack:
    """One running service. `start` and `stop` come in pairs; stop it even if start raised."""

    def __init__(self, plan: StackPlan, interrupts: Interrupts, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._interrupts = interrupts
        self._supervisor = Supervisor(say)
        self._lock = FolderLock(plan.data_dir)
        self._temporary = plan.data_dir / "tmp"
        self._address = plan.data_dir / "store.url"
        self.url = reachable_url(plan.host, plan.port)
        self.flower_auth: str | None = None

    def start(self, on_wait: Callable[[str], None]) -> None:
        """Starts everything and waits until a job would be processed.

        `on_wait` gets a short text about what it waits for. Raises StackRefused, Interrupted.
        """
        require_free(self._plan.host, self._plan.port, "--port")
        if self._plan.flower:
            settings = self._plan.settings
            require_free(settings.flower_host, settings.flower_port, "RETOUCH_FLOWER_PORT")
        self._lock.acquire()
        self._remake_temporary()
        parts = plan_parts(self._plan, self._start_store(on_wait), self._temporary)
        self._start_parts(parts)
        self._wait_until_ready(on_wait)
        self._supervisor.settle()

    def stop(self) -> None:
        """Ends workers, then gateway and Flower, then the store; a second signal makes it fast."""
        order = (
            lambda name: name.startswith("worker"),
            lambda name: name in ("gateway", "flower"),
            lambda name: name == "store",
        )
        self._supervisor.end(order, self._interrupts.urgent)
        if self._lock.fileno() >= 0:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._address.unlink(missing_ok=True)
        self._lock.release()

    def _remake_temporary(self) -> None:
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir(parents=True)

    def _start_store(self, on_wait: Callable[[str], None]) -> str:
        if self._plan.external_store:
            require_store(self._plan.external_store)
            return self._plan.external_store
        store = EmbeddedStore.in_folder(self._plan.data_dir / "store")
        environment = store_environment(self._temporary)
        log = self._plan.log("store")
        self._supervisor.start(store.spec(environment, log, self._lock.fileno()))
        self._publish(store.url)
        self._look_until(store.answers, lambda: on_wait("starting the store"))
        return store.url

    def _publish(self, store_url: str) -> None:
        """For `RETOUCH_REDIS_URL=$(cat .../store.url) retouch worker` beside it."""
        self._address.touch(mode=0o600)
        self._address.write_text(store_url)

    def _start_parts(self, parts: Parts) -> None:
        self.flower_auth = parts.flower_auth
        for spec in parts.specs:
            self._supervisor.start(spec)

    def _wait_until_ready(self, on_wait: Callable[[str], None]) -> None:
        with Client(self.url, patience_seconds=0.0) as client:
            missing = "starting the gateway"

            def is_ready() -> bool:
                nonlocal missing
                problem = client.readiness()
                missing = waiting_for(problem) if problem else missing
                return problem is None or (problem.code == "no_worker" and not self._plan.workers)

            self._look_until(is_ready, lambda: on_wait(missing))

    def _look_until(self, done: Callable[[], bool], tell: Callable[[], None]) -> None:
        while True:
            if self._interrupts.requested:
                raise Interrupted
            self._supervisor.require_alive()
            if done():
                return
            tell()
            time.sleep(LOOK_SECONDS)
