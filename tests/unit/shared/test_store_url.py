"""Addresses of the store, as people, redis-py and Kombu write them."""

import pytest

from shared.store_url import kombu_url, next_database, sentinel_group, verified

GROUP = "sentinel://ann:p%40w@a,b:5,c/main/3"


def test_a_group_has_hosts_a_name_a_database_and_a_login() -> None:
    group = sentinel_group(GROUP)

    assert group is not None
    assert group.hosts == [("a", 26379), ("b", 5), ("c", 26379)]
    assert (group.name, group.database) == ("main", 3)
    assert (group.username, group.password) == ("ann", "p@w")
    assert sentinel_group("redis://a/0") is None


@pytest.mark.parametrize("url", ["sentinel://a,b", "sentinel:///main", "sentinel://a/main/x"])
def test_a_group_without_hosts_or_name_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="sentinel://HOST"):
        sentinel_group(url)


@pytest.mark.parametrize(
    ("url", "following"),
    [
        ("redis://a", "redis://a/1"),
        ("redis://:p@a:5/2", "redis://:p@a:5/3"),
        ("redis://a/15", "redis://a/0"),
        ("rediss://a/0?ssl_ca_certs=/c", "rediss://a/1?ssl_ca_certs=/c"),
        ("unix:///run/a.sock?db=4", "unix:///run/a.sock?db=4"),
        ("sentinel://a,b/main", "sentinel://a,b/main/1"),
    ],
)
def test_the_broker_has_the_next_database(url: str, following: str) -> None:
    assert next_database(url) == following


def test_kombu_spells_sockets_and_groups_in_its_own_way() -> None:
    assert kombu_url("unix:///run/a.sock?db=1") == "redis+socket:///run/a.sock?virtual_host=1"
    assert kombu_url("sentinel://:p@a,b:5/main/1") == (
        "sentinel://:p@a:26379/1;sentinel://:p@b:5/1"
    )
    assert kombu_url("redis://a/1") == "redis://a/1"


def test_certificates_are_checked_unless_the_address_says_otherwise() -> None:
    assert verified("rediss://a/0", "") == "rediss://a/0?ssl_cert_reqs=required"
    assert "ssl_ca_certs=%2Fca.pem" in verified("rediss://a/0", "/ca.pem")
    assert verified("rediss://a/0?ssl_cert_reqs=none", "").endswith("?ssl_cert_reqs=none")
    assert verified("redis://a/0", "/ca.pem") == "redis://a/0"
