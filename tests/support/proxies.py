"""Real proxies in front of a gateway, using the files of deploy/ with this machine's ports."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from retouch.stack.ports import free_port
from shared.settings import REPOSITORY
from tests.support.certificates import Authority
from tests.support.wait import wait_until

NAME = "photos.example.org"
DEPLOY = REPOSITORY / "deploy"
LETSENCRYPT = f"/etc/letsencrypt/live/{NAME}"

# The configuration around a file of conf.d; everything else is kept in one folder.
NGINX_MAIN = """\
daemon off;
{user}
pid {folder}/nginx.pid;
error_log stderr warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/retouch.conf;
}}
"""


def program(name: str) -> str:
    """Its path. Without it the test is skipped, but not in CI."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        reason = f"{name} is not installed (apt-get install {name})"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def fitted(text: str, changes: dict[str, str]) -> str:
    """The text with each of these pieces replaced exactly once."""
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def nginx_command(folder: Path, gateway: int, port: int, changes: dict[str, str]) -> list[str]:
    """The command that runs deploy/nginx.conf on this port."""
    mine = {
        "server 127.0.0.1:8000;": f"server 127.0.0.1:{gateway};",
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        f"{LETSENCRYPT}/fullchain.pem": f"{folder}/{NAME}.pem",
        f"{LETSENCRYPT}/privkey.pem": f"{folder}/{NAME}.key",
    }
    site = fitted((DEPLOY / "nginx.conf").read_text(), mine | changes)
    (folder / "retouch.conf").write_text(site)
    user = "user root;" if os.geteuid() == 0 else ""
    main = folder / "nginx.conf"
    main.write_text(NGINX_MAIN.format(folder=folder, user=user))
    return [program("nginx"), "-e", "stderr", "-p", str(folder), "-c", str(main)]


def caddy_command(folder: Path, gateway: int, port: int, changes: dict[str, str]) -> list[str]:
    """The command that runs deploy/Caddyfile on this port."""
    options = "{\n\tadmin off\n\tauto_https off\n\tskip_install_trust\n}\n"
    tls = f"\ttls {folder}/{NAME}.pem {folder}/{NAME}.key"
    mine = {
        "127.0.0.1:8000": f"127.0.0.1:{gateway}",
        f"{NAME} {{": f"https://{NAME}:{port} {{\n\tbind 127.0.0.1\n{tls}",
    }
    site = fitted((DEPLOY / "Caddyfile").read_text(), mine | changes)
    (folder / "Caddyfile").write_text(options + site)
    config = str(folder / "Caddyfile")
    return [program("caddy"), "run", "--config", config, "--adapter", "caddyfile"]


COMMANDS = {"nginx": nginx_command, "caddy": caddy_command}


@contextmanager
def running_proxy(
    kind: str,
    folder: Path,
    gateway: int,
    port: int,
    authority: Authority,
    changes: dict[str, str] | None = None,
) -> Iterator[None]:
    """A proxy with TLS on this port, in front of the gateway on that one."""
    folder.mkdir(parents=True, exist_ok=True)
    authority.serve(folder, NAME)
    command = COMMANDS[kind](folder, gateway, port, changes or {})
    log = folder / "log"
    homes = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=os.environ | homes)

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(answers, description=f"{kind} to listen", seconds=30)
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


@contextmanager
def name_leads_here() -> Iterator[None]:
    """Makes the public name resolve to this machine, for this process."""
    real = socket.getaddrinfo

    def ours(host: object, *args: object, **kwargs: object) -> object:
        here = "127.0.0.1" if host in (NAME, NAME.encode()) else host
        return real(here, *args, **kwargs)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", ours)
        yield


def public_url() -> tuple[str, int]:
    """An address on a free port of this machine, below a path."""
    port = free_port()
    return f"https://{NAME}:{port}/retouch", port
