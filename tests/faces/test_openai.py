"""OpenAI's own package against the running service."""

import asyncio
import base64
import io
from collections.abc import Iterator

import httpx2
import openai
import pytest
from PIL import Image

from tests.faces.conftest import KEYS
from tests.support.pictures import photo
from tests.support.stack import RunningUp
from tests.support.wait import wait_until


@pytest.fixture
def client(up: RunningUp) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{up.url}/v1", api_key=KEYS["ada"]) as made:
        yield made


def picture(b64: str | None) -> Image.Image:
    assert b64 is not None
    return Image.open(io.BytesIO(base64.b64decode(b64)))


def jobs(ada: httpx2.Client) -> list[dict[str, object]]:
    items: list[dict[str, object]] = ada.get("/v1/jobs", params={"limit": 100}).json()["items"]
    return items


def test_an_edit_answers_the_picture(client: openai.OpenAI) -> None:
    answer = client.images.edit(image=("p.jpg", photo(96, 64)), prompt="sharp", model="retouch")

    assert answer.data is not None
    image = picture(answer.data[0].b64_json)
    assert (image.format, answer.output_format) == ("PNG", "png")
    assert answer.size == f"{image.width}x{image.height}"
    assert image.width * 64 == image.height * 96


def test_several_images_and_several_results_come_in_order(client: openai.OpenAI) -> None:
    answer = client.images.edit(
        image=[("a.png", photo(64, 64, "PNG")), ("b.png", photo(64, 48, "PNG"))],
        prompt="sharp",
        n=2,
        output_format="webp",
        output_compression=60,
        quality="low",
        background="auto",
    )

    assert answer.data is not None
    images = [picture(item.b64_json) for item in answer.data]
    assert [image.format for image in images] == ["WEBP"] * 4
    shapes = [round(image.width / image.height, 2) for image in images]
    assert shapes == [1.0, 1.0, 1.33, 1.33]
    assert images[0].tobytes() != images[1].tobytes()


@pytest.mark.parametrize(
    ("size", "expected"), [("128x128", (128, 96)), ("32x24", (32, 24)), ("300x900", (300, 225))]
)
def test_the_size_is_the_largest_of_the_pictures_shape_that_fits(
    client: openai.OpenAI, size: str, expected: tuple[int, int]
) -> None:
    answer = client.images.edit(image=("p.jpg", photo(64, 48)), prompt="", size=size)

    assert answer.data is not None
    assert picture(answer.data[0].b64_json).size == expected
    assert answer.size == f"{expected[0]}x{expected[1]}"


def test_an_address_serves_the_picture_without_a_key(client: openai.OpenAI) -> None:
    answer = client.images.edit(
        image=("p.jpg", photo()), prompt="x", response_format="url", size="128x96"
    )

    assert answer.data is not None
    assert answer.data[0].url is not None
    fetched = httpx2.get(answer.data[0].url)
    assert (fetched.status_code, fetched.headers["content-type"]) == (200, "image/png")
    assert Image.open(io.BytesIO(fetched.content)).size == (128, 96)
    assert httpx2.get(f"{answer.data[0].url}x").json()["error"]["code"] == "result_expired"


def test_a_stream_brings_previews_with_the_percentage_and_then_the_picture(
    client: openai.OpenAI,
) -> None:
    events = list(
        client.images.edit(
            image=("p.jpg", photo(128, 96)),
            prompt="sharp",
            stream=True,
            partial_images=3,
            extra_body={"steps": 20, "strength": 1},
        )
    )

    kinds = [event.type for event in events]
    assert kinds[-1] == "image_edit.completed"
    assert kinds[:-1] == ["image_edit.partial_image"] * (len(events) - 1)
    assert len(events) > 1
    partials = events[:-1]
    assert [event.partial_image_index for event in partials] == list(range(len(partials)))  # type: ignore[union-attr]
    percents = [event.percent for event in events]  # type: ignore[union-attr]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert all(picture(event.b64_json).format == "PNG" for event in events)


def test_a_stream_without_partial_images_is_the_picture_alone(client: openai.OpenAI) -> None:
    stream = client.images.edit(image=("p.jpg", photo()), prompt="sharp", stream=True)

    (event,) = list(stream)
    assert event.type == "image_edit.completed"
    assert event.usage.total_tokens == 0


def test_the_asynchronous_client_edits_and_streams(up: RunningUp) -> None:
    async def both() -> tuple[int, list[str]]:
        async with openai.AsyncOpenAI(base_url=f"{up.url}/v1", api_key=KEYS["ada"]) as client:
            answers = await asyncio.gather(
                *(client.images.edit(image=("p.jpg", photo()), prompt="x") for _ in range(4))
            )
            stream = await client.images.edit(
                image=("p.jpg", photo()), prompt="x", stream=True, partial_images=1
            )
            return len(answers), [event.type async for event in stream]

    count, kinds = asyncio.run(both())

    assert (count, kinds[-1]) == (4, "image_edit.completed")


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_variations_differ(client: openai.OpenAI) -> None:
    answer = client.images.create_variation(image=("p.png", photo(kind="PNG")), n=2)

    assert answer.data is not None
    first, second = (picture(item.b64_json) for item in answer.data)
    assert first.tobytes() != second.tobytes()


def test_models_are_the_service_its_base_and_its_loras(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]

    assert names[:2] == ["retouch", "tiny"]
    assert all(name.startswith("retouch/") for name in names[2:])
    assert client.models.retrieve(names[2]).id == names[2]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-image-1")


def test_a_model_names_the_lora(client: openai.OpenAI, ada: httpx2.Client) -> None:
    name = [model.id for model in client.models.list()][2]

    client.images.edit(image=("p.jpg", photo()), prompt="x", model=name)
    loras = jobs(ada)[0]["params"]["loras"]  # type: ignore[index]
    client.images.edit(image=("p.jpg", photo()), prompt="x", model="tiny")
    none = jobs(ada)[0]["params"]["loras"]  # type: ignore[index]

    assert [lora["name"] for lora in loras] == [name.removeprefix("retouch/")]
    assert none == []


# --- refusals


@pytest.mark.parametrize(
    ("asked", "status", "param"),
    [
        ({"n": 10**9}, 400, "n"),
        ({"n": 0}, 400, "n"),
        ({"size": "0x0"}, 400, "size"),
        ({"size": "99999x99999"}, 400, "size"),
        ({"size": "wide"}, 400, "size"),
        ({"model": "gpt-image-1"}, 404, "model"),
        ({"model": "retouch/../../etc/passwd"}, 404, "model"),
        ({"output_format": "gif"}, 400, "output_format"),
        ({"output_compression": 101}, 400, "output_compression"),
        ({"extra_body": {"strength": 7}}, 400, "strength"),
        ({"extra_body": {"sharpness": 7}}, 400, "sharpness"),
        ({"mask": ("m.png", photo(kind="PNG"))}, 400, "mask"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_named(
    client: openai.OpenAI, asked: dict[str, object], status: int, param: str
) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        client.images.edit(image=("p.jpg", photo()), prompt="x", **asked)  # type: ignore[call-overload]

    assert refused.value.status_code == status
    assert set(refused.value.body) == {"message", "type", "param", "code"}  # type: ignore[arg-type]
    assert refused.value.param in (param, None if param == "model" else param)
    assert refused.value.type == "invalid_request_error"


def test_a_refused_picture_has_the_sentence_of_every_other_route(
    client: openai.OpenAI, ada: httpx2.Client
) -> None:
    ours = ada.post("/v1/jobs", files={"image": ("p.jpg", b"no picture")}).json()

    with pytest.raises(openai.BadRequestError) as refused:
        client.images.edit(image=("p.jpg", b"no picture"), prompt="x")

    assert refused.value.code == ours["code"]
    assert ours["detail"] in refused.value.message


def test_making_pictures_from_words_is_refused_in_words(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="images/edits"):
        client.images.generate(prompt="a cat", model="retouch")


def test_more_pictures_than_a_request_may_have_are_counted_in_words(client: openai.OpenAI) -> None:
    for count, limit in ((17, "16"), (10_000, "files")):
        with pytest.raises(openai.BadRequestError, match=f"more than.*{limit}"):
            client.images.edit(image=[("p.jpg", b"x")] * count, prompt="x")


def test_other_apis_of_openai_are_refused_in_words(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="images/edits"):
        client.chat.completions.create(model="retouch", messages=[])
    with pytest.raises(openai.NotFoundError, match="images/edits"):
        client.embeddings.create(model="retouch", input="x")


def test_a_wrong_key_is_an_authentication_error_and_a_reading_one_may_not_edit(
    up: RunningUp,
) -> None:
    for key, kind in (
        ("wrong", openai.AuthenticationError),
        (KEYS["eve"], openai.PermissionDeniedError),
    ):
        with (
            openai.OpenAI(base_url=f"{up.url}/v1", api_key=key, max_retries=0) as client,
            pytest.raises(kind),
        ):
            client.images.edit(image=("p.jpg", photo()), prompt="x")


# --- retries, leaving


def test_a_client_that_times_out_and_tries_again_by_itself_makes_no_second_job(
    up: RunningUp, ada: httpx2.Client
) -> None:
    before = {job["id"] for job in jobs(ada)}
    with openai.OpenAI(
        base_url=f"{up.url}/v1", api_key=KEYS["ada"], timeout=1.0, max_retries=5
    ) as client:
        answer = client.images.edit(
            image=("p.jpg", photo(80, 80)),
            prompt="slow",
            extra_body={"steps": 50, "strength": 1, "fidelity": "none"},
        )

    assert answer.data
    made = [job for job in jobs(ada) if job["id"] not in before]
    assert [job["state"] for job in made] == ["succeeded"]


def test_the_same_request_made_again_on_purpose_is_another_job(
    client: openai.OpenAI, ada: httpx2.Client
) -> None:
    before = {job["id"] for job in jobs(ada)}
    for _ in range(2):
        client.images.edit(image=("p.jpg", photo(72, 72)), prompt="twice")

    assert len([job for job in jobs(ada) if job["id"] not in before]) == 2


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_who_leaves_cancels_the_job(
    up: RunningUp, ada: httpx2.Client, stream: bool
) -> None:
    before = {job["id"] for job in jobs(ada)}

    def states() -> set[object]:
        return {job["state"] for job in jobs(ada) if job["id"] not in before}

    async def leave_when_it_runs() -> None:
        async with httpx2.AsyncClient(timeout=60) as client:
            data = {"steps": "50", "strength": "1", "stream": str(stream).lower()}
            asking = asyncio.create_task(
                client.post(
                    f"{up.url}/v1/images/edits",
                    files={"image": ("p.jpg", photo(88, 88))},
                    data=data,
                    headers={"Authorization": f"Bearer {KEYS['ada']}"},
                )
            )
            while not await asyncio.to_thread(states):
                assert not asking.done()
            asking.cancel()

    asyncio.run(leave_when_it_runs())

    wait_until(lambda: states() == {"canceled"}, description="the left job to be canceled")
