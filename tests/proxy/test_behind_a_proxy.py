"""The service behind nginx and Caddy, with TLS and below a path, by the files of deploy/."""

import asyncio
import json
import re
from urllib.parse import urljoin

import httpx2
import openai
import pytest
from mcp import Client as McpClient
from mcp.client.streamable_http import streamable_http_client
from websockets.sync.client import connect as open_socket

from retouch.client import Client
from shared.settings import REPOSITORY
from tests.proxy.conftest import Site
from tests.support.pictures import photo
from tests.support.proxies import NAME
from tests.support.receivers import OK, receiving, says

# Paths of our own that begin elsewhere than below the public one.
STRAY = re.compile(r'"/(?!retouch/)[a-z0-9_]+')
LOCAL = {"nginx": "deploy/nginx.conf", "caddy": "deploy/Caddyfile"}


def submitted(site: Site, **fields: str) -> httpx2.Response:
    with site.client() as client:
        answer = client.post(
            f"{site.url}/v1/jobs",
            data={"lora": "none", **fields},
            files={"image": ("p.jpg", photo())},
            headers={"Prefer": "wait=20"},
        )
    assert answer.status_code == 200, answer.text
    return answer


@pytest.mark.parametrize("name", LOCAL.values())
def test_the_page_of_documentation_shows_the_file_that_is_tested(name: str) -> None:
    assert (REPOSITORY / name).read_text() in (REPOSITORY / "docs/proxy.md").read_text()


def test_every_address_of_a_job_leads_back(site: Site) -> None:
    answer = submitted(site)
    links = answer.json()["links"]

    assert answer.headers["Location"] == links["self"]
    with site.client() as client:
        for name in ("self", "image", "preview", "source", "events"):
            found = client.get(urljoin(site.url, links[name]))
            assert (name, found.status_code) == (name, 200)
    assert STRAY.findall(json.dumps(links)) == []


def test_refusals_uploads_samples_and_the_document_lead_back(site: Site) -> None:
    with site.client() as client:
        refused = client.get(f"{site.url}/v1/jobs/{'0' * 32}").json()
        upload = client.post(f"{site.url}/v1/images", files={"image": ("p.jpg", photo())})
        loras = client.get(f"{site.url}/v1/loras").json()["items"]
        samples = [item["sample_url"] for item in loras if item["sample_url"]]
        shown = [refused["type"], *samples]
        assert samples
        assert {client.get(urljoin(site.url, one)).status_code for one in shown} == {200}
        assert client.head(urljoin(site.url, upload.headers["Location"])).status_code == 200
        document = client.get(f"{site.url}/openapi.json").json()

    assert refused["instance"].startswith("/retouch/v1/jobs/")
    assert {"url": site.url} in document["servers"]


@pytest.mark.parametrize("page", ["", "docs", "problems/not_found"])
def test_pages_load_nothing_from_outside_the_path(site: Site, page: str) -> None:
    with site.client() as client:
        text = client.get(f"{site.url}/{page}").text
        files = re.findall(r'(?:src|href)="([^"#]+)"', text)
        assert files
        for file in files:
            found = urljoin(f"{site.url}/{page}", file)
            assert found.startswith(f"{site.url}/")
            assert client.get(found).status_code == 200, found


def test_the_path_without_its_slash_leads_to_the_page(site: Site) -> None:
    with site.client() as client:
        answer = client.get(site.url, follow_redirects=True)

    assert str(answer.url) == f"{site.url}/"
    assert "<title>retouch" in answer.text


def test_a_socket_tells_of_the_job(site: Site) -> None:
    link = urljoin(site.url, submitted(site).json()["links"]["socket"])

    with open_socket(link.replace("https", "wss"), ssl=site.tls) as socket:
        told = [json.loads(text)["kind"] for text in socket if isinstance(text, str)]

    assert told[-1] == "result"


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_socket_outlives_a_minute_of_silence(site: Site) -> None:
    with site.worker.held(), site.client() as client:
        form = {"data": {"lora": "none"}, "files": {"image": ("p.jpg", photo())}}
        job = client.post(f"{site.url}/v1/jobs", **form).json()
        link = urljoin(site.url, job["links"]["socket"]).replace("https", "wss")
        with open_socket(link, ssl=site.tls) as socket:
            assert json.loads(socket.recv())["kind"] == "state"
            with pytest.raises(TimeoutError):
                socket.recv(timeout=65)
            site.worker.go_on()
            told = [json.loads(text)["kind"] for text in socket if isinstance(text, str)]

    assert told[-1] == "result"


def test_a_webhook_s_links_lead_back_from_anywhere(site: Site) -> None:
    async def heard() -> str:
        async with receiving(says(OK)) as receiver:
            hook = f"http://127.0.0.1:{receiver.port}/hook"
            await asyncio.to_thread(submitted, site, webhook_url=hook)
            async with asyncio.timeout(20):
                while not receiver.heard:
                    await asyncio.sleep(0.05)
            return receiver.heard[0].body

    links = json.loads(asyncio.run(heard()))["data"]["links"]

    # Whole addresses, below the first of several public ones.
    assert links["image"].startswith(f"https://{NAME}:")
    behind = links["image"].partition("/retouch/")[2]
    with site.client() as client:
        assert client.get(f"{site.url}/{behind}").status_code == 200


def test_openai_s_addresses_lead_back(site: Site) -> None:
    with openai.OpenAI(
        base_url=f"{site.url}/v1", api_key="none", http_client=_plain(site)
    ) as client:
        answer = client.images.edit(
            image=("p.jpg", photo()), prompt="sharp", model="retouch", response_format="url"
        )
    assert answer.data is not None
    assert answer.data[0].url is not None
    assert answer.data[0].url.startswith(f"{site.url}/v1/images/results/")
    with site.client() as client:
        assert client.get(answer.data[0].url).headers["content-type"] == "image/png"


def _plain(site: Site) -> "openai.DefaultHttpxClient":
    return openai.DefaultHttpxClient(verify=site.tls)


def test_the_protocol_for_models_works_below_the_path(
    site: Site,
) -> None:
    async def work() -> dict[str, object]:
        async with httpx2.AsyncClient(verify=site.tls, timeout=20) as http:
            transport = streamable_http_client(f"{site.url}/mcp", http_client=http)
            async with McpClient(transport) as client:
                job = await asyncio.to_thread(submitted, site)
                result = await client.call_tool("get_job", {"job_id": job.json()["id"]})
                return dict(result.structured_content or {})

    links = asyncio.run(asyncio.wait_for(work(), 60))["links"]

    assert isinstance(links, dict)
    assert str(links["image"]).startswith("/retouch/v1/jobs/")


def test_our_own_client_works_below_the_path(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(site.trust))
    with Client(site.url) as client:
        job = client.submit(photo(), lora="none")
        assert client.wait(job).state == "succeeded"
        assert client.image(job)
