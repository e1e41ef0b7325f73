"""Where a webhook may go, and where it may not, in every spelling."""

import ipaddress

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from api.webhooks.addresses import AddressRefused, Allowed, is_outside, parse_target
from tests.unit.api.conftest import Gateway
from tests.unit.api.sending import submit

NOBODY = Allowed(())

INSIDE = [
    "127.0.0.1",
    "127.255.0.9",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::169.254.169.254",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:53aa:64c::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]
OUTSIDE = ["8.8.8.8", "93.184.216.34", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001::200e"]


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_that_are_no_public_host_are_inside(address: str) -> None:
    assert not is_outside(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", OUTSIDE)
def test_public_hosts_are_outside(address: str) -> None:
    assert is_outside(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", INSIDE)
def test_an_inside_address_is_refused_with_the_request(client: TestClient, address: str) -> None:
    host = f"[{address}]" if ":" in address else address

    answer = submit(client, webhook_url=f"https://{host}/hook")

    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/webhook_url"]


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "ftp://example.org/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://[bad",
        "https://example.org:0/",
        "https://example.org:99999/",
        "https://example.org:a/",
        "https://user@example.org/",
        "https://user:pass@example.org/",
        "https://@example.org/",
        "https://example.org\\@127.0.0.1/",
        "https://example.org/a b",
        "https://exa\tmple.org/",
        "https://exämple.org/",
        "https://localhost/",
        "https://LOCALHOST./",
        "https://redis/",
        "https://a.localhost/",
        "https://printer.local/",
        "https://metadata.google.internal/",
        "https://router.home.arpa/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://127.1/",
        "https://0177.0.0.1/",
        "https://[fe80::1%25eth0]/",
        "https://[::ffff:7f00:1]/",
        "https://exa..mple.org/" + "a" * 2000,
    ],
)
def test_addresses_in_disguise_are_refused_with_the_request(client: TestClient, url: str) -> None:
    answer = submit(client, webhook_url=url)

    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://example.org", ("https", "example.org", 443, "/")),
        ("https://Example.ORG.:8443/a?b=c#d", ("https", "example.org", 8443, "/a?b=c")),
        ("https://8.8.8.8/x", ("https", "8.8.8.8", 443, "/x")),
        ("https://[2606:4700::1]/x", ("https", "2606:4700::1", 443, "/x")),
        ("https://xn--exmple-cua.org/", ("https", "xn--exmple-cua.org", 443, "/")),
    ],
)
def test_an_address_outside_is_taken_apart_once(url: str, parts: tuple[str, str, int, str]) -> None:
    target = parse_target(url, NOBODY)

    assert (target.scheme, target.host, target.port, target.path) == parts


def test_a_host_on_the_operator_s_list_may_be_inside_and_plain(gateway: Gateway) -> None:
    client = gateway(webhook_hosts="127.0.0.1:9000, hooks.internal")

    for good in ("http://127.0.0.1:9000/x", "http://hooks.internal/", "https://HOOKS.internal:1/"):
        assert submit(client, webhook_url=good).status_code == 202
    for bad in (
        "http://127.0.0.1:9001/",
        "http://127.0.0.1/",
        "http://hooks.internal.evil.example/",
    ):
        assert submit(client, webhook_url=bad).status_code == 422


def test_the_refusal_of_an_address_speaks_chinese(client: TestClient) -> None:
    client.headers["Accept-Language"] = "zh"

    answer = submit(client, webhook_url="https://127.0.0.1/")

    assert answer.json()["errors"] == [{"pointer": "/webhook_url", "detail": "不能指向内部网络"}]


@pytest.mark.parametrize("events", ["job.succeeded", "job.failed, job.canceled", ["job.failed"]])
def test_the_ends_to_be_told_of_can_be_chosen(client: TestClient, events: str | list[str]) -> None:
    answer = submit(client, webhook_url="https://example.org/", webhook_events=events)

    flat = events if isinstance(events, list) else [part.strip() for part in events.split(",")]
    assert answer.json()["params"]["webhook_events"] == flat


@pytest.mark.parametrize("events", ["", "succeeded", "job.started", "job.failed,", ","])
def test_an_end_that_there_is_not_is_named(client: TestClient, events: str) -> None:
    answer = submit(client, webhook_url="https://example.org/", webhook_events=events)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith("/webhook_events")


@given(st.text(max_size=60) | st.text(max_size=40).map("https://{}".format))
def test_any_text_is_a_target_outside_or_refused(text: str) -> None:
    try:
        target = parse_target(text, NOBODY)
    except AddressRefused:
        return
    assert target.scheme == "https"
    assert "." in target.host or ":" in target.host


@given(st.ip_addresses(v=4))
def test_no_wrapping_of_an_ipv4_address_is_outside(inner: ipaddress.IPv4Address) -> None:
    number = int(inner)
    for wrapped in (
        0xFFFF << 32 | number,
        number,
        int(ipaddress.ip_address("64:ff9b::")) | number,
        int(ipaddress.ip_address("2002::")) | number << 80,
        int(ipaddress.ip_address("2001::")) | number ^ 0xFFFFFFFF,
    ):
        assert not is_outside(ipaddress.IPv6Address(wrapped))
