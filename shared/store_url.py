"""Addresses of the store: `redis://`, `rediss://`, `unix://`, and `sentinel://` for failover.

Owns their forms. redis-py, Kombu and people write the same address in three ways; ours is
`sentinel://[[USER]:PASSWORD@]HOST[:PORT],HOST,.../NAME[/DATABASE]`. Opens no connection.
"""

from dataclasses import dataclass
from urllib.parse import SplitResult, quote, unquote, urlencode, urlsplit, urlunsplit

SCHEMES = ("redis://", "rediss://", "unix://", "sentinel://")
# Of pictures alone.
OBJECT_SCHEMES = ("s3://", "gs://", "az://")
SENTINEL_PORT = 26379
DATABASES = 16


@dataclass(frozen=True)
class SentinelGroup:
    """A primary that Sentinels know by name, and how to log in to it."""

    hosts: list[tuple[str, int]]
    name: str
    database: int
    username: str | None
    password: str | None


def sentinel_group(url: str) -> SentinelGroup | None:
    """The group of a `sentinel://` address, None for other schemes. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme != "sentinel":
        return None
    login, _, hosts = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    name, _, database = parts.path.strip("/").partition("/")
    if not name or not hosts or not (database or "0").isdigit():
        raise ValueError("must be sentinel://HOST[:PORT],HOST,.../NAME[/DATABASE]")
    return SentinelGroup(
        hosts=[_host(text) for text in hosts.split(",") if text],
        name=name,
        database=int(database or 0),
        username=unquote(username) or None,
        password=unquote(password) or None,
    )


def next_database(url: str) -> str:
    """The same server's next database; of a socket file the same one."""
    parts, group = urlsplit(url), sentinel_group(url)
    if group is not None:
        return urlunsplit(parts._replace(path=f"/{group.name}/{(group.database + 1) % DATABASES}"))
    number = parts.path.lstrip("/")
    if parts.scheme == "unix" or not (number == "" or number.isdigit()):
        return url
    return urlunsplit(parts._replace(path=f"/{(int(number or 0) + 1) % DATABASES}"))


def verified(url: str, authority: str) -> str:
    """An address whose TLS certificate is checked, against this file of authorities if given."""
    parts = urlsplit(url)
    if parts.scheme != "rediss":
        return url
    checks = {"ssl_cert_reqs": "required"} | ({"ssl_ca_certs": authority} if authority else {})
    missing = {name: value for name, value in checks.items() if f"{name}=" not in parts.query}
    return _with_query(parts, **missing)


def kombu_url(url: str) -> str:
    """The same address as Kombu spells it."""
    parts, group = urlsplit(url), sentinel_group(url)
    if parts.scheme == "unix":
        return f"redis+socket://{parts.path}?virtual_host={_query_database(parts)}"
    if group is None:
        return url
    login = (
        f"{quote(group.username or '')}:{quote(group.password, safe='')}@" if group.password else ""
    )
    return ";".join(
        f"sentinel://{login}{host}:{port}/{group.database}" for host, port in group.hosts
    )


def _host(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    return parts.hostname or "", parts.port or SENTINEL_PORT


def _query_database(parts: SplitResult) -> int:
    numbers = [part.removeprefix("db=") for part in parts.query.split("&") if part[:3] == "db="]
    return int(numbers[0]) if numbers and numbers[0].isdigit() else 0


def _with_query(parts: SplitResult, **values: str) -> str:
    kept = [part for part in [parts.query] if part]
    return urlunsplit(parts._replace(query="&".join([*kept, *filter(None, [urlencode(values)])])))
