"""AUTOMATIC1111's clients against the running service: `webuiapi`, and others' requests."""

import asyncio
import base64
import io
import json
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import webuiapi
from PIL import Image

from tests.faces.conftest import KEYS
from tests.support.pictures import photo
from tests.support.stack import RunningUp
from tests.support.wait import wait_until

SLOW = {"steps": 50, "denoising_strength": 1}


@pytest.fixture
def client(up: RunningUp) -> Iterator[webuiapi.WebUIApi]:
    made = webuiapi.WebUIApi(baseurl=f"{up.url}/sdapi/v1", username="anyone", password=KEYS["ada"])
    yield made
    made.session.close()


@pytest.fixture
def plain(up: RunningUp) -> Iterator[httpx2.Client]:
    """Requests as other programs build them, with ada's key as the password."""
    auth = httpx2.BasicAuth("anyone", KEYS["ada"])
    url = f"{up.url}/sdapi/v1"
    with httpx2.Client(base_url=url, auth=auth, timeout=60, verify=False) as made:
        yield made


def image(width: int = 64, height: int = 48) -> Image.Image:
    return Image.open(io.BytesIO(photo(width, height, "PNG")))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def picture(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_img2img_of_the_package_answers_the_size_that_it_asks_for(
    client: webuiapi.WebUIApi,
) -> None:
    answer = client.img2img(
        images=[image()], prompt="a cat", seed=5, cfg_scale=6.5, denoising_strength=0.6
    )

    assert answer.image.size == (512, 512)
    assert (answer.info["seed"], answer.info["all_seeds"]) == (5, [5])
    assert answer.info["prompt"] == "a cat"
    assert "Seed: 5" in answer.info["infotexts"][0]
    assert answer.parameters["init_images"] is None
    assert answer.parameters["sampler_name"] == "Euler a"
    again = client.img2img(
        images=[image()], prompt="a cat", seed=5, cfg_scale=6.5, denoising_strength=0.6
    )
    assert again.image.tobytes() == answer.image.tobytes()


def test_a_batch_has_a_seed_for_each_of_its_pictures(client: webuiapi.WebUIApi) -> None:
    answer = client.img2img(
        images=[image()], width=96, height=96, batch_size=2, n_iter=2, seed=10, resize_mode=1
    )

    assert [one.size for one in answer.images] == [(96, 96)] * 4
    assert answer.info["all_seeds"] == [10, 11, 12, 13]
    assert len({one.tobytes() for one in answer.images}) > 1


@pytest.mark.parametrize(("mode", "size"), [(0, (80, 40)), (1, (40, 80)), (2, (90, 60))])
def test_every_resize_mode_gives_exactly_the_size(
    client: webuiapi.WebUIApi, mode: int, size: tuple[int, int]
) -> None:
    answer = client.img2img(images=[image()], width=size[0], height=size[1], resize_mode=mode)

    assert answer.image.size == size


def test_the_readmes_upscaling_gives_one_and_a_half_times_the_picture(
    client: webuiapi.WebUIApi,
) -> None:
    answer = client.extra_single_image(
        image=image(), upscaler_1=webuiapi.Upscaler.ESRGAN_4x, upscaling_resize=1.5
    )
    several = client.extra_batch_images(
        images=[image(), image(32, 32)],
        upscaler_1="Lanczos",
        resize_mode=1,
        upscaling_resize_w=64,
        upscaling_resize_h=64,
    )

    assert answer.image.size == (96, 72)
    assert [one.size for one in several.images] == [(64, 64), (64, 64)]
    assert client.extra_single_image(image=image()).image.size == (64, 48)


def left_half() -> Image.Image:
    mask = Image.new("L", (64, 48))
    mask.paste(255, (0, 0, 32, 48))
    return mask


@pytest.mark.parametrize("inverted", [False, True])
def test_an_inpaint_mask_is_white_where_the_photo_is_replaced_unless_inverted(
    client: webuiapi.WebUIApi, inverted: bool
) -> None:
    answer = client.img2img(
        images=[image()],
        mask_image=left_half(),
        inpainting_mask_invert=int(inverted),
        width=64,
        height=48,
    )

    made, given = answer.image.convert("RGB"), image().convert("RGB")
    same = [made.getpixel((x, 10)) == given.getpixel((x, 10)) for x in (8, 56)]
    assert same == ([True, False] if inverted else [False, True])
    assert answer.parameters["mask"] is None


def test_how_a_mask_is_blurred_elsewhere_is_said_to_have_no_effect(plain: httpx2.Client) -> None:
    buffer = io.BytesIO()
    left_half().save(buffer, "PNG")
    body = {"init_images": [b64(photo())], "mask": b64(buffer.getvalue()), "mask_blur": 20}

    info = json.loads(plain.post("/img2img", json=body).json()["info"])

    assert info["ignored"] == ["mask_blur"]


def test_progress_is_the_callers_own_and_interrupt_ends_his_request_alone(
    up: RunningUp, client: webuiapi.WebUIApi
) -> None:
    answers: list[Any] = []
    work = threading.Thread(
        target=lambda: answers.append(client.img2img(images=[image()], **SLOW))  # type: ignore[arg-type]
    )
    other = webuiapi.WebUIApi(baseurl=f"{up.url}/sdapi/v1", username="x", password=KEYS["bob"])
    assert client.get_progress()["state"]["job_count"] == 0

    work.start()
    seen = wait_until(
        lambda: (now := client.get_progress())["progress"] > 0 and now,
        description="progress of the running request",
        seconds=30,
    )
    foreign = other.get_progress()
    other.interrupt()
    assert client.get_progress()["state"]["job_count"] == 1
    client.interrupt()
    work.join(timeout=30)

    assert 0 < seen["progress"] < 1
    assert seen["state"]["sampling_steps"] == 50
    assert (foreign["progress"], foreign["state"]["job_count"]) == (0, 0)
    assert not work.is_alive()
    assert len(answers[0].images) <= 1
    assert client.get_progress()["state"]["job_count"] == 0
    other.session.close()


def test_the_current_image_is_the_preview(plain: httpx2.Client) -> None:
    body = {"init_images": [b64(photo(128, 96))], **SLOW}
    work = threading.Thread(target=lambda: plain.post("/img2img", json=body))
    work.start()

    shown = wait_until(
        lambda: plain.get("/progress").json()["current_image"],
        description="a preview in progress",
        seconds=30,
    )
    assert picture(shown).format == "PNG"
    hidden = plain.get("/progress", params={"skip_current_image": "true"}).json()
    assert hidden["current_image"] is None
    plain.post("/interrupt")
    work.join(timeout=30)


def test_skip_ends_one_picture_and_the_rest_goes_on(plain: httpx2.Client) -> None:
    answers: list[httpx2.Response] = []
    body = {"init_images": [b64(photo())], "batch_size": 2, "steps": 30, "denoising_strength": 1}
    work = threading.Thread(target=lambda: answers.append(plain.post("/img2img", json=body)))
    work.start()
    wait_until(
        lambda: plain.get("/progress").json()["progress"] > 0, description="work", seconds=30
    )

    assert plain.post("/skip").json() == {}

    work.join(timeout=40)
    assert answers[0].status_code == 200
    assert len(answers[0].json()["images"]) in (1, 2)


@pytest.mark.timeout(200)
def test_a_caller_who_leaves_cancels_the_job(plain: httpx2.Client, ada: httpx2.Client) -> None:
    known = {job["id"] for job in ada.get("/v1/jobs").json()["items"]}

    def states() -> set[str]:
        jobs = ada.get("/v1/jobs").json()["items"]
        return {job["state"] for job in jobs if job["id"] not in known}

    async def leave_when_it_runs() -> None:
        auth = httpx2.BasicAuth("anyone", KEYS["ada"])
        async with httpx2.AsyncClient(base_url=plain.base_url, auth=auth, timeout=60) as client:
            body = {"init_images": [b64(photo())], **SLOW}
            asking = asyncio.create_task(client.post("/img2img", json=body))
            while not await asyncio.to_thread(states):
                assert not asking.done()
            asking.cancel()

    asyncio.run(leave_when_it_runs())

    wait_until(lambda: states() == {"canceled"}, description="the left job's end", seconds=60)


def test_what_clients_list_is_there(client: webuiapi.WebUIApi) -> None:
    names = [lora["name"] for lora in client.get_loras()]

    assert "face_restore_tiny" in names
    assert client.get_sd_models()[0]["model_name"] == "tiny"
    assert client.util_get_model_names() == ["tiny"]
    assert client.util_get_current_model() == "tiny"
    assert [one["name"] for one in client.get_upscalers()][:2] == ["None", "Lanczos"]
    assert client.get_samplers()[0]["name"] == client.util_get_sampler_names()[0]
    assert client.get_schedulers()[0]["label"] == "Automatic"
    assert client.get_scripts() == {"txt2img": [], "img2img": []}
    assert client.get_memory()["ram"]["total"] > 0
    assert client.refresh_checkpoints() is None
    assert client.util_wait_for_ready() is None


def test_a_lora_of_the_prompt_is_taken_and_an_unknown_one_is_named(
    client: webuiapi.WebUIApi, ada: httpx2.Client
) -> None:
    answer = client.img2img(
        images=[image()], prompt="sharp <lora:face_restore_tiny:0.5> <lora:nowhere:1>"
    )

    params = ada.get("/v1/jobs").json()["items"][0]["params"]
    loras = [(lora["name"], lora["scale"]) for lora in params["loras"]]
    assert (loras, params["prompt"]) == ([("face_restore_tiny", 0.5)], "sharp")
    assert "nowhere" in answer.info["lora_reason"]


def test_options_are_the_callers_own(up: RunningUp, client: webuiapi.WebUIApi) -> None:
    other = webuiapi.WebUIApi(baseurl=f"{up.url}/sdapi/v1", username="x", password=KEYS["bob"])
    try:
        assert client.set_options({"samples_format": "webp", "sd_vae": "x"}) is None

        assert client.img2img(images=[image()]).image.format == "WEBP"
        assert client.get_options()["samples_format"] == "webp"
        assert other.get_options()["samples_format"] == "png"
        client.util_set_model("tiny")
    finally:
        client.set_options({"samples_format": "png"})
        other.session.close()


def test_the_text_of_a_result_is_read_again(client: webuiapi.WebUIApi) -> None:
    result = client.img2img(images=[image()], prompt="a dog", seed=3)

    info = client.png_info(result.image)

    assert info.info.startswith("a dog")
    assert info.parameters["Seed"] == "3"
    assert client.png_info(image()).info == ""


def test_open_webui_and_sillytavern_find_what_they_ask_for(plain: httpx2.Client) -> None:
    # Open WebUI: the connection's test, the model list, its own engine's setting
    assert plain.get("/options").json()["sd_model_checkpoint"] == "tiny"
    assert {"title", "model_name"} <= set(plain.get("/sd-models").json()[0])
    assert plain.post("/options", json={"sd_model_checkpoint": "tiny"}).status_code == 200
    # SillyTavern: ping, lists by name, waiting until a model is loaded
    for path in ("samplers", "schedulers", "upscalers", "latent-upscale-modes", "sd-vae"):
        assert isinstance(plain.get(f"/{path}").json(), list), path
    progress = plain.get("/progress").json()
    assert (progress["progress"], progress["state"]["job_count"]) == (0, 0)
    # Both make pictures from words, which is refused in words
    for body in (
        {"prompt": "a cat", "batch_size": 1, "width": 512, "height": 512, "steps": 20},
        {"prompt": "a cat", "enable_hr": False, "override_settings": {}, "seed": -1},
    ):
        refused = plain.post("/txt2img", json=body)
        assert refused.status_code == 422
        assert "img2img" in str(refused.json()["detail"])


def test_a_task_is_followed_by_the_name_that_the_client_gave_it(plain: httpx2.Client) -> None:
    task = f"task({uuid4().hex})"
    body = {"init_images": [b64(photo())], "force_task_id": task, "width": 64, "height": 48}
    asked = {"id_task": task, "id_live_preview": -1}

    assert plain.post("/internal/progress", json=asked).json()["completed"] is False
    assert plain.post("/img2img", json=body).status_code == 200
    assert plain.post("/internal/progress", json=asked).json()["completed"] is True
    root = str(plain.base_url).removesuffix("/sdapi/v1/")
    assert httpx2.get(f"{root}/internal/ping").json() == {}


# --- bad input


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": None, "cfg_scale": None, "width": None, "height": None, "seed": None},
        {"steps": -1, "cfg_scale": -1, "width": -1, "height": -1, "batch_size": -1, "n_iter": -1},
        {"prompt": None, "negative_prompt": None, "override_settings": None, "styles": None},
        {"alwayson_scripts": {"ADetailer": {"args": [False]}}, "script_name": ""},
        {"alwayson_scripts": [], "override_settings": []},
        {"denoising_strength": 0, "steps": 150, "cfg_scale": 30, "sampler_index": "Euler"},
    ],
)
def test_null_and_minus_one_mean_as_you_like(
    plain: httpx2.Client, changes: dict[str, object]
) -> None:
    answer = plain.post("/img2img", json={"init_images": [b64(photo())], **changes})

    assert answer.status_code == 200, answer.text
    assert picture(answer.json()["images"][0]).size == (64, 48)


@pytest.mark.parametrize(
    ("sent", "used", "ignored"),
    [
        ({"sampler_name": "Euler"}, "Euler", []),
        ({"sampler_index": "LCM"}, "LCM", []),
        ({"sampler_name": "DPM++ 2M"}, "DPM++ 2M", []),
        ({"sampler_name": "Euler a"}, "DPM++ 2M", ["sampler_name"]),
    ],
)
def test_a_sampler_is_used_or_named_as_without_effect(
    plain: httpx2.Client, sent: dict[str, object], used: str, ignored: list[str]
) -> None:
    answer = plain.post("/img2img", json={"init_images": [b64(photo())], **sent})

    info = json.loads(answer.json()["info"])
    assert (info["sampler_name"], info["ignored"]) == (used, ignored)
    assert f"Sampler: {used}," in info["infotexts"][0]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"width": 0, "height": 0}, "width"),
        ({"steps": "twenty"}, "steps"),
        ({"denoising_strength": 2}, "denoising_strength"),
        ({"n_iter": 10**9}, "n_iter"),
        ({"batch_size": 8, "n_iter": 8}, "batch_size"),
        ({"mask": "aGk="}, "mask"),
        ({"mask": "!"}, "mask"),
        ({"mask": b64(photo(kind="PNG")), "inpainting_mask_invert": 2}, "inpainting_mask_invert"),
        ({"script_name": "xyz"}, "script_name"),
        ({"override_settings": {"sd_model_checkpoint": "other"}}, "sd_model_checkpoint"),
        ({"init_images": []}, "init_images"),
        ({"init_images": "aGk="}, "init_images"),
        ({"init_images": ["aGk="] * 10_000}, "init_images"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(
    plain: httpx2.Client, changes: dict[str, object], field: str
) -> None:
    answer = plain.post("/img2img", json={"init_images": [b64(photo())], **changes})

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][:2] == ["body", field]


@pytest.mark.parametrize(
    "text",
    [
        "data:image/png;base64," + b64(photo(kind="PNG")),
        "\r\n".join(b64(photo())[at : at + 76] for at in range(0, len(b64(photo())), 76)),
        b64(photo()).rstrip("="),
    ],
)
def test_base64_is_read_as_clients_write_it(plain: httpx2.Client, text: str) -> None:
    assert plain.post("/img2img", json={"init_images": [text]}).status_code == 200


@pytest.mark.parametrize(
    "text", ["", "%%%", "data:image/png;base64,", "http://x.test/a.png", "aGk="]
)
def test_what_is_no_picture_is_refused_in_words(plain: httpx2.Client, text: str) -> None:
    answer = plain.post("/img2img", json={"init_images": [text]})

    assert answer.status_code in (415, 422), answer.text
    assert answer.json()["detail"]


def test_a_refused_picture_has_the_sentence_of_every_other_route(
    plain: httpx2.Client, ada: httpx2.Client
) -> None:
    ours = ada.post("/v1/jobs", files={"image": ("p.png", b"no picture")}).json()

    answer = plain.post("/img2img", json={"init_images": [b64(b"no picture")]}).json()

    assert answer["error"] == ours["code"]
    assert ours["detail"] in answer["detail"]


def test_two_hundred_megabytes_of_base64_are_refused_before_they_are_read(
    plain: httpx2.Client,
) -> None:
    def endless() -> Iterator[bytes]:
        yield b'{"init_images": ["'
        for _ in range(200):
            yield b"A" * 2**20
        yield b'"]}'

    headers = {"Content-Type": "application/json"}
    try:
        untold = plain.post("/img2img", content=endless(), headers=headers)
    except httpx2.TransportError:
        return  # the connection was closed while it was still sending
    assert untold.status_code == 413


def test_a_wrong_password_and_a_key_without_the_scope_are_refused(up: RunningUp) -> None:
    url = f"{up.url}/sdapi/v1/img2img"
    body = {"init_images": [b64(photo())]}

    wrong = httpx2.post(url, json=body, auth=("anyone", "guess"))
    bare = httpx2.post(url, json=body, headers={"Authorization": "Basic %%%"})
    reading = httpx2.post(url, json=body, auth=("anyone", KEYS["eve"]))

    assert (wrong.status_code, bare.status_code, reading.status_code) == (401, 401, 403)
    assert wrong.headers["www-authenticate"] == "Basic"
    assert json.loads(wrong.text)["detail"]
