"""A webhook from a real gateway to a real receiver, with the gateway's end in between."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
from standardwebhooks import Webhook

from tests.support.gateways import running_gateway
from tests.support.http_servers import Quiet, serving
from tests.support.pictures import photo
from tests.support.wait import wait_until

Heard = list[tuple[dict[str, str], str]]


@contextmanager
def receiver(*statuses: int) -> Iterator[tuple[int, Heard]]:
    """Answers with these statuses, the last one for good; its port, and what it has heard."""
    heard: Heard = []

    class Answers(Quiet):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            status = statuses[min(len(heard), len(statuses) - 1)]
            heard.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(status)
            self.end_headers()

    with serving(Answers) as url:
        yield int(url.rpartition(":")[2]), heard


def test_a_webhook_survives_the_end_of_its_gateway(
    tmp_path: Path, base_folder: Path, store_url: str
) -> None:
    with receiver(503, 200) as (port, heard):
        common = {
            "redis_url": store_url,
            "base_model": str(base_folder),
            "webhook_hosts": f"127.0.0.1:{port}",
        }
        # Given a gateway whose receiver has failed once, and which is killed then
        with running_gateway(tmp_path, **common) as first:
            job = httpx2.post(
                f"{first.url}/v1/jobs",
                files={"image": ("p.jpg", photo())},
                data={"lora": "none", "webhook_url": f"http://127.0.0.1:{port}/hook?key=SECRET"},
                timeout=60,
            ).json()
            httpx2.delete(first.url + job["links"]["self"])
            wait_until(lambda: heard, description="the first try")
            first.process.kill()
            assert "SECRET" not in first.log.read_text()

        # When another is started on the same data
        (tmp_path / "tmp").rename(tmp_path / "first-tmp")
        with running_gateway(tmp_path, **common) as second, httpx2.Client() as client:
            address = second.url + job["links"]["self"]
            seen = wait_until(
                lambda: (
                    (told := client.get(address).json()["webhook"])["state"] != "waiting" and told
                ),
                description="the second try",
                seconds=80,
                every=0.1,
            )

    # Then the receiver has it, under the same id and with a signature of the same secret
    assert (seen["state"], seen["reason"]) == ("delivered", None)
    secret = (tmp_path / "data" / "webhook-secret").read_text()
    assert len({headers["webhook-id"] for headers, _ in heard}) == 1
    for headers, body in heard:
        assert Webhook(secret).verify(body, headers)["data"]["id"] == job["id"]
