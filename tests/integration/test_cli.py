"""The command line against a real service: many photos, interruptions, a server of its own."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from retouch import Client
from retouch.stack.ports import free_port
from shared.params import JobParams
from shared.settings import REPOSITORY
from shared.upscalers.factor import settle_factor
from tests.support.stack import RETOUCH, RunningUp, clean_environment, retouch, running_up
from tests.support.wait import wait_until
from tests.support.workers import picture

TINY = REPOSITORY / "models" / "tiny"
needs_tiny = pytest.mark.skipif(
    not (TINY / "model_index.json").exists() and not os.environ.get("CI"),
    reason="models/tiny is not in this checkout",
)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningUp]:
    """One service with quick fake steps for every test that changes nothing about it."""
    with running_up(tmp_path_factory.mktemp("up")) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photos, two of them with the same stem."""
    (tmp_path / "old").mkdir()
    for number, name in enumerate(("a.webp", "b.webp", "old/a.webp")):
        (tmp_path / name).write_bytes(picture(seed=number))
    return tmp_path


def size(data: bytes) -> tuple[int, int]:
    with Image.open(BytesIO(data)) as image:
        image.load()
        return image.size


def test_many_photos_at_once_each_become_their_own_picture(up: RunningUp, folder: Path) -> None:
    photos = ["a.webp", "b.webp", "old/a.webp"]
    done = retouch(["enhance", *photos, "-o", "new", "--seed", "7"], folder, url=up.url)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "new/a.webp\nnew/b.webp\nnew/a-2.webp\n"
    pictures = [(folder / line).read_bytes() for line in done.stdout.splitlines()]
    assert len(set(pictures)) == 3
    # By default a small photo comes back enlarged.
    assert {size(data) for data in pictures} == {(256, 192)}


def test_one_broken_photo_among_good_ones_is_named_and_the_rest_is_written(
    up: RunningUp, folder: Path
) -> None:
    data = (folder / "b.webp").read_bytes()
    (folder / "b.webp").write_bytes(data[: len(data) // 2])
    done = retouch(["enhance", "a.webp", "b.webp", "old/a.webp", "-o", "new"], folder, url=up.url)
    assert done.returncode == 1
    assert done.stdout == "new/a.webp\nnew/a-2.webp\n"
    assert any(line.startswith("b.webp: ") for line in done.stderr.splitlines())
    assert sorted(path.name for path in (folder / "new").iterdir()) == ["a-2.webp", "a.webp"]


def test_the_same_seed_gives_the_same_picture(up: RunningUp, folder: Path) -> None:
    for name in ("one.png", "two.png"):
        retouch(["enhance", "a.webp", "--seed", "5", "-o", name], folder, url=up.url)
    assert (folder / "one.png").read_bytes() == (folder / "two.png").read_bytes()


def test_the_percentage_never_goes_back_and_ends_at_a_hundred(up: RunningUp) -> None:
    seen = []
    with Client(up.url) as client:
        job = client.submit(picture(), steps=20, strength=1.0)
        client.wait(job, on_progress=lambda progress: seen.append(progress.percent))
        assert client.image(job)
    assert seen == sorted(seen)
    assert len(set(seen)) > 5
    assert seen[-1] == 100


def test_a_refusal_by_the_service_is_told_in_the_persons_language(
    up: RunningUp, folder: Path
) -> None:
    with Client(up.url, language="zh") as client, pytest.raises(Exception, match="LoRA") as caught:
        client.submit(folder / "a.webp", lora="no_such_lora")
    assert caught.value.code == "lora_not_found"  # type: ignore[attr-defined]
    assert any("\u4e00" <= letter <= "\u9fff" for letter in str(caught.value))


def test_an_interruption_cancels_the_running_jobs(folder: Path) -> None:
    with running_up(folder / "up", fake_step_seconds="0.5") as up, Client(up.url) as client:
        # Given two photos whose jobs take half a minute
        command = [RETOUCH, "enhance", "a.webp", "b.webp", "-o", "new", "--json"]
        process = subprocess.Popen(
            [*command, "--steps", "50", "--strength", "1"],
            env=clean_environment(folder, {"url": up.url}),
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: client.workers()[0].in_flight, description="a job to run")
        # When
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        # Then
        assert process.returncode == 130
        ids = [outcome["job"] for outcome in json.loads(output) if outcome["job"]]
        assert ids
        assert {client.job(job).state for job in ids} == {"canceled"}
        assert not (folder / "new").exists()


def test_without_a_server_one_is_started_for_the_call_and_leaves_nothing(folder: Path) -> None:
    done = retouch(["enhance", "a.webp", "-o", "new.png"], folder, port=str(free_port()))
    assert done.returncode == 0, done.stderr
    assert "starting one for this call" in done.stderr
    assert size((folder / "new.png").read_bytes()) == (256, 192)
    assert list((folder / "tmp").iterdir()) == []
    assert not (folder / "var").exists()


def test_without_a_server_the_loras_of_the_folder_are_listed(folder: Path) -> None:
    done = retouch(["loras", "list", "--json"], folder, port=str(free_port()))
    assert done.returncode == 0, done.stderr
    listed = {item["name"] for item in json.loads(done.stdout)}
    offered = {path.stem for path in (REPOSITORY / "loras").glob("*.safetensors")}
    assert listed >= offered


def test_a_named_server_that_does_not_answer_is_not_replaced_by_another(folder: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = retouch(["enhance", "a.webp", "-o", "new.png"], folder, url=url)
    assert done.returncode == 1
    assert done.stderr == (
        f"No retouch server answers at {url}.\n"
        "  Check RETOUCH_URL, or unset it to work without a server.\n"
    )


def test_a_bad_setting_is_named(folder: Path) -> None:
    done = retouch(["enhance", "a.webp"], folder, port="eighty")
    assert done.returncode == 1
    assert "RETOUCH_PORT" in done.stderr
    assert "Traceback" not in done.stderr


@needs_tiny
def test_the_demos_photo_is_enhanced_by_the_embedded_base(tmp_path: Path) -> None:
    photo = REPOSITORY / "examples" / "portrait.jpg"
    options = ["--before-after", "--seed", "1", "-o", "out/portrait_enhanced.png"]
    done = retouch(
        ["enhance", str(photo), *options], tmp_path, port=str(free_port()), engine="diffusers"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "out/portrait_enhanced.png\nout/portrait_before_after.png\n"
    with Image.open(photo) as before, Image.open(tmp_path / "out/portrait_enhanced.png") as after:
        factor = settle_factor(JobParams(), before.size).factor
        assert after.size == (before.width * factor, before.height * factor)
        assert after.resize(before.size).tobytes() != before.convert("RGB").tobytes()
    assert list((tmp_path / "tmp").iterdir()) == []
