"""`compose.tls.yml`, for real: Caddy with a certificate of its own authority before the gateway.

Run by `make compose-test`; needs Docker, and Caddy's image or a registry that has it.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.test_compose import PHOTO, Fleet, _free_port, inside
from tests.support.wait import wait_until

NAME, KEY, IMAGE = "photos.example.org", "secret-of-the-phone", "caddy:2-alpine"
PROXY = "172.29.77.250"

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1800)]


class Site:
    """The service at its public name."""

    def __init__(self, folder: Path, http: int, https: int) -> None:
        self._trust, self._http, self._https = folder / "authority.pem", http, https

    def trust(self) -> bool:
        """Whether Caddy has made its authority, whose certificate is taken over."""
        root = inside("caddy", "cat", "/data/caddy/pki/authorities/local/root.crt")
        self._trust.write_text(root)
        return root.startswith("-----BEGIN CERTIFICATE-----")

    def curl(self, address: str, *more: str) -> tuple[int, str]:
        """Status and body of an address, asked for as from the internet."""
        places = [f"{NAME}:443:127.0.0.1:{self._https}", f"{NAME}:80:127.0.0.1:{self._http}"]
        command = ["curl", "--silent", "--cacert", str(self._trust), "--max-time", "60"]
        command += [word for place in places for word in ("--connect-to", place)]
        done = subprocess.run(
            [*command, "--write-out", "\n%{http_code}", *more, address],
            capture_output=True,
            text=True,
            check=False,
        )
        body, _, status = done.stdout.rpartition("\n")
        return int(status), body


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if shutil.which("docker") is None:
        pytest.skip("docker is not installed")
    command = ["docker", "image", "inspect", IMAGE]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pulled = subprocess.run(["docker", "pull", "-q", IMAGE], capture_output=True, check=False)
        if pulled.returncode:
            pytest.skip(f"{IMAGE} cannot be had here")
    folder, http, https = tmp_path_factory.mktemp("tls"), _free_port(), _free_port()
    running = Fleet(
        folder,
        "compose.tls.yml",
        DOMAIN=NAME,
        CADDY_OPTIONS="--internal-certs",
        HTTP_PORT=str(http),
        HTTPS_PORT=str(https),
        RETOUCH_API_KEYS=f"phone={KEY}",
        RETOUCH_ALLOW_ANONYMOUS="0",
    )
    running.run("build")
    try:
        running.run("up", "--detach")
        site = Site(folder, http, https)
        wait_until(site.trust, description="the authority of Caddy", seconds=120, every=0.5)
        yield site
    finally:
        print(running.run("logs", "--no-color", "--tail", "60"))
        running.run("down", "--volumes", "--timeout", "20")


def test_a_photo_goes_there_and_back_through_tls_with_a_key(site: Site) -> None:
    wait_until(
        lambda: '"worker":"ok"' in site.curl(f"https://{NAME}/readyz")[1].replace(" ", ""),
        description="a worker behind the public name",
        seconds=180,
        every=0.5,
    )
    sent = ("-H", f"Authorization: Bearer {KEY}", "-H", "Prefer: wait=50", "-F", "lora=none")

    status, body = site.curl(f"https://{NAME}/v1/jobs", *sent, "-F", f"image=@{PHOTO}")

    assert (status, json.loads(body)["state"]) == (200, "succeeded")


def test_without_a_key_and_without_tls_nobody_is_served(site: Site) -> None:
    assert site.curl(f"https://{NAME}/v1/jobs")[0] == 401
    assert site.curl(f"http://{NAME}/v1/jobs")[0] == 308


def test_the_log_has_the_sender_s_address_as_the_proxy_alone_tells_it(site: Site) -> None:
    site.curl(f"https://{NAME}/v1/jobs", "-H", "X-Forwarded-For: 203.0.113.9")

    (name,) = subprocess.run(
        ["docker", "ps", "--filter", "name=retouch-test.api.", "--format", "{{.Names}}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    log = subprocess.run(["docker", "logs", name], capture_output=True, text=True, check=True)
    lines = [line for line in (log.stdout + log.stderr).splitlines() if "path=/v1/jobs" in line]
    assert lines
    assert not any("203.0.113.9" in line or f"client={PROXY} " in line for line in lines)
