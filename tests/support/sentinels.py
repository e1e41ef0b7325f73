"""A primary, its replica, and Sentinels that replace the one by the other."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

from tests.support.store_servers import plain_client, running_sentinel, running_server
from tests.support.wait import wait_until


@dataclass
class SentinelGroup:
    """Its address for retouch, and who is primary and replica at first."""

    url: str
    primary: Popen[bytes]
    port: int

    def wait_until_replicating(self) -> None:
        """Until the replica follows, and the Sentinels know it and each other."""
        wait_until(self._replicates, description="the replica to follow", seconds=30)
        wait_until(self._is_known, description="the Sentinels to know each other", seconds=30)

    def _replicates(self) -> bool:
        with plain_client(self.port) as client:
            replicas: Any = client.info("replication")
        return bool(replicas.get("slave0", {}).get("state") == "online")

    def fail_over(self) -> None:
        """Makes the replica primary although the primary lives."""
        with plain_client(self._first_sentinel()) as client:
            client.execute_command("SENTINEL", "FAILOVER", "main")

    def is_failed_over(self) -> bool:
        """Whether the Sentinels name another primary."""
        return int(self._known()["port"]) != self.port

    def _is_known(self) -> bool:
        facts = self._known()
        return bool(facts["num-other-sentinels"] == 2 and facts["num-slaves"] == 1)

    def _known(self) -> Any:
        with plain_client(self._first_sentinel()) as client:
            return client.sentinel_master("main")

    def _first_sentinel(self) -> int:
        return int(self.url.partition("127.0.0.1:")[2].partition(",")[0])


@contextmanager
def running_group(folder: Path) -> Iterator[SentinelGroup]:
    """A primary, a replica and three Sentinels."""
    with ExitStack() as stack:
        primary, port = stack.enter_context(running_server(folder / "primary", appendonly="yes"))
        stack.enter_context(
            running_server(folder / "replica", appendonly="yes", replicaof=f"127.0.0.1 {port}")
        )
        watchers = []
        for number in range(3):
            place = folder / f"sentinel-{number}"
            place.mkdir()
            config = place / "sentinel.conf"
            config.write_text(
                f"sentinel monitor main 127.0.0.1 {port} 2\n"
                "sentinel down-after-milliseconds main 700\n"
                "sentinel failover-timeout main 3000\n"
            )
            _, watcher = stack.enter_context(running_sentinel(config))
            watchers.append(f"127.0.0.1:{watcher}")
        url = f"sentinel://{','.join(watchers)}/main/0"
        yield SentinelGroup(url, primary, port)
