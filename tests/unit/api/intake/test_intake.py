"""What becomes of a picture on its way in."""

import io
import os
import signal
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from api.intake.child_pipes import PIPE_BYTES
from api.intake.decoder import Decoders, Normalised
from api.intake.header import read_header
from api.intake.kept import as_shown
from shared.errors import (
    AnimatedImage,
    ImageTooLarge,
    ImageTruncated,
    InvalidImage,
    Overloaded,
    RetouchError,
    UnsupportedMediaType,
)
from shared.kept import KeptAs, read_kept, read_kept_alpha
from tests.support.pictures import PIECES, colours, is_like, photo

ORIENTATION = 0x0112


@pytest.fixture
def fresh() -> Iterator[Decoders]:
    """Decoders that have served nobody yet."""
    with closing(Decoders(max_pixels=1_000_000)) as made:
        yield made


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    made = Decoders(max_pixels=1_000_000)
    yield made
    made.close()


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + name + data + struct.pack("!I", zlib.crc32(name + data))


def png_claiming(width: int, height: int) -> bytes:
    header = struct.pack("!IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"x") + chunk(b"IEND", b"")
    )


def normalised(decoders: Decoders, data: bytes) -> Normalised:
    return decoders.normalise(data, read_header(data).kind)


def outcome(decoders: Decoders, data: bytes) -> str:
    try:
        normalised(decoders, data)
    except RetouchError as error:
        return error.code
    return "taken"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_header_tells_kind_and_size(kind: str) -> None:
    header = read_header(photo(70, 50, kind))

    assert (header.kind, header.width, header.height) == (kind.lower(), 70, 50)


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_every_form_of_webp_has_its_size_read(mode: str, lossless: bool) -> None:
    header = read_header(photo(301, 77, "WEBP", mode, lossless=lossless))

    assert (header.width, header.height) == (301, 77)


@pytest.mark.parametrize("progressive", [True, False])
def test_jpeg_markers_before_the_frame_are_skipped(progressive: bool) -> None:
    data = photo(90, 31, comment=b"\xff\xc0" * 300, exif=b"Exif\0\0" + bytes(40))

    assert (read_header(data).width, read_header(data).height) == (90, 31)
    assert read_header(photo(90, 31, progressive=progressive)).width == 90


@pytest.mark.parametrize(("frame", "bits"), [(0xC1, 12), (0xC3, 16), (0xC5, 8)])
def test_a_jpeg_of_a_medical_device_is_named_and_not_called_damaged(frame: int, bits: int) -> None:
    data = bytearray(photo(64, 48))
    start = data.index(b"\xff\xc0")
    data[start + 1], data[start + 4] = frame, bits

    with pytest.raises(UnsupportedMediaType, match="ordinary JPEG"):
        read_header(bytes(data))


@pytest.mark.parametrize(
    "data",
    [
        b"just words",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7",
        b"8BPS" + bytes(20),
        b"%!PS-Adobe-3.0 EPSF-3.0",
        b"SIMPLE  =                    T",
        b"\xff\x0a" + bytes(20),
        b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(20),
    ],
)
def test_anything_else_is_an_unsupported_media_type(data: bytes) -> None:
    with pytest.raises(UnsupportedMediaType):
        read_header(data)


def test_animated_pictures_are_refused_by_their_header() -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    for kind in ("PNG", "WEBP"):
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
        with pytest.raises(AnimatedImage):
            read_header(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("kept", [4, 12, 20, 30])
def test_a_file_that_ends_in_its_header_is_refused_in_words(kind: str, kept: int) -> None:
    with pytest.raises((ImageTruncated, InvalidImage, UnsupportedMediaType)):
        read_header(photo(kind=kind)[:kept])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_pictures_arrive_with_their_colours(decoders: Decoders, kind: str) -> None:
    normal = normalised(decoders, photo(120, 80, kind))

    assert (normal.width, normal.height, normal.warnings) == (120, 80, [])
    assert all(is_like(*pair) for pair in zip(colours(normal.data), PIECES, strict=True))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "CMYK", "RGBA", "1", "I;16"])
def test_every_mode_becomes_rgb(decoders: Decoders, mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    if mode == "I;16":
        data = saved(Image.new("I;16", (64, 48), 40_000), kind)
    else:
        data = photo(kind=kind, mode=mode)

    normal = normalised(decoders, data)

    with Image.open(io.BytesIO(normal.data)) as image:
        assert (image.format, image.mode, image.size) == ("PPM", "RGB", (64, 48))


def test_both_forms_of_a_kept_upload_have_the_same_pixels() -> None:
    data, pixels = photo(120, 80), []
    for form in ("ppm", "webp"):
        with closing(Decoders(max_pixels=1_000_000, kept_as=form)) as decoders:
            kept = normalised(decoders, data).data
        assert as_shown(kept)[0][8:12] == b"WEBP"
        for version in (kept, as_shown(kept)[0]):
            with Image.open(io.BytesIO(version)) as image:
                pixels.append(image.convert("RGB").tobytes())
    assert len(set(pixels)) == 1


@pytest.mark.parametrize("size", [(2500, 4000), (17_000, 16)])
@pytest.mark.parametrize("form", ["ppm", "webp"])
def test_what_is_too_large_for_webp_is_kept_and_shown_as_png_with_its_transparency(
    form: KeptAs, size: tuple[int, int]
) -> None:
    # Given a soft edge, at which the encoder of WebP spends its time
    soft = Image.linear_gradient("L").resize(size)
    data = saved(Image.merge("RGBA", [soft, soft, soft, soft]), "PNG", compress_level=1)

    with closing(Decoders(max_pixels=10_000_000, kept_as=form)) as decoders:
        normal = normalised(decoders, data)
    shown, media_type = as_shown(normal.data)

    assert normal.data[:2] == (b"P6" if form == "ppm" else b"\x89P")
    assert media_type == "image/png"
    alpha = read_kept_alpha(shown)
    assert alpha is not None
    assert alpha.tobytes() == soft.tobytes()
    assert read_kept(shown).size == size


def test_sixteen_bit_grey_keeps_its_brightness(decoders: Decoders) -> None:
    normal = normalised(decoders, saved(Image.new("I;16", (64, 48), 128 * 257), "PNG"))

    assert colours(normal.data)[0] == (128, 128, 128)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_gone(decoders: Decoders, orientation: int) -> None:
    # Given a picture that a camera stored turned
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = photo(120, 80, exif=exif.tobytes())

    # When it is taken in
    normal = normalised(decoders, data)

    # Then it is upright as Pillow's own reading makes it
    with Image.open(io.BytesIO(data)) as stored:
        upright = saved(ImageOps.exif_transpose(stored), "PNG")
    assert all(is_like(*pair) for pair in zip(colours(normal.data), colours(upright), strict=True))
    with Image.open(io.BytesIO(normal.data)) as image:
        assert dict(image.getexif()) == {}


def test_no_metadata_survives(decoders: Decoders) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "SECRET-comment")
    exif = Image.Exif()
    exif[0x010E] = "SECRET-exif"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = saved(
        Image.new("RGB", (64, 64), "teal"), "PNG", pnginfo=text, exif=exif, icc_profile=profile
    )

    kept = normalised(decoders, data).data

    assert b"SECRET" not in kept
    with Image.open(io.BytesIO(kept)) as image:
        assert not {"exif", "icc_profile", "xmp"} & set(image.info)


def test_large_pictures_keep_their_size(decoders: Decoders) -> None:
    for kind in ("JPEG", "PNG"):
        normal = normalised(decoders, photo(900, 300, kind))

        assert (normal.width, normal.height) == (900, 300)
        assert normal.warnings == []
        assert all(is_like(*pair) for pair in zip(colours(normal.data), PIECES, strict=True))


def test_a_tail_behind_a_jpeg_is_not_kept(decoders: Decoders) -> None:
    assert b"<html>" not in normalised(decoders, photo() + b"<html>PK\x03\x04").data


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_cut_off_picture_is_truncated(decoders: Decoders, kind: str) -> None:
    data = saved(Image.effect_noise((128, 128), 80).convert("RGB"), kind)

    with pytest.raises(ImageTruncated):
        normalised(decoders, data[: len(data) // 2])


def test_damage_anywhere_is_a_refusal_and_never_a_crash(decoders: Decoders) -> None:
    # Given whole pictures of each kind, each damaged in many places
    for kind in ("PNG", "JPEG", "WEBP"):
        data = photo(40, 40, kind)
        for place in range(8, len(data), max(1, len(data) // 40)):
            damaged = bytearray(data)
            damaged[place] ^= 0xFF
            # Then each is either taken or refused with one of our own errors
            assert outcome(decoders, bytes(damaged)) in {
                "taken",
                "invalid_image",
                "image_truncated",
                "image_too_large",
                "unsupported_media_type",
                "animated_image",
            }


def test_compressed_text_and_profile_bombs_are_refused_or_ignored(decoders: Decoders) -> None:
    bomb = zlib.compress(bytes(64 * 2**20))
    whole = photo(kind="PNG")
    for name, data in ((b"zTXt", b"Comment\0\0" + bomb), (b"iCCP", b"p\0\0" + bomb)):
        spiked = whole[:33] + chunk(name, data) + whole[33:]
        assert outcome(decoders, spiked) in {"taken", "invalid_image"}


def test_a_picture_larger_than_its_header_said_is_refused(decoders: Decoders) -> None:
    with pytest.raises(ImageTooLarge):
        normalised(decoders, png_claiming(40_000, 40_000))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_decoder_that_died_idle_costs_nobody_an_upload(
    fresh: Decoders, number: signal.Signals
) -> None:
    normalised(fresh, photo())
    (child,) = fresh._idle
    os.kill(child._process.pid, number)

    assert normalised(fresh, photo()).width == 64


def program(tmp_path: Path, text: str) -> Path:
    """A program in the decoder's place."""
    path = tmp_path / "decoder.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "death", ["sys.exit(1)", "os.kill(os.getpid(), 9)", "sys.stdin.buffer.read(4); os._exit(0)"]
)
def test_decoders_that_this_machine_ends_are_tried_twice_and_are_no_fault_of_the_picture(
    fresh: Decoders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, death: str
) -> None:
    tries = tmp_path / "tries"
    note = f"open({str(tries)!r}, 'a').write('x')"
    child = program(tmp_path, f"import os, sys; {note}; {death}")
    monkeypatch.setattr("api.intake.decoder.CHILD", child)

    with pytest.raises(Overloaded):
        normalised(fresh, photo())

    assert tries.read_text() == "xx"


def test_a_picture_that_crashes_a_fresh_decoder_is_refused(
    fresh: Decoders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "import os, sys; sys.stdin.buffer.read(4); os.kill(os.getpid(), 11)"
    monkeypatch.setattr("api.intake.decoder.CHILD", program(tmp_path, text))

    with pytest.raises(InvalidImage):
        normalised(fresh, photo())


def test_a_machine_that_starts_no_process_is_busy_and_the_picture_is_not_bad(
    fresh: Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_fork(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("api.intake.decoder.subprocess.Popen", no_fork)

    with pytest.raises(Overloaded):
        normalised(fresh, photo())


@pytest.mark.parametrize("more_bytes", [0, 4 * PIPE_BYTES])
def test_a_decoder_that_hangs_is_ended(more_bytes: int) -> None:
    # Given one that reads no further, with room in its pipe for a picture or without
    decoders = Decoders(max_pixels=1_000_000, timeout_seconds=2.0)
    normalised(decoders, photo())
    (child,) = decoders._idle
    os.kill(child._process.pid, signal.SIGSTOP)

    with pytest.raises(InvalidImage):
        normalised(decoders, photo() + bytes(more_bytes))

    assert child.exit_status is not None
    decoders.close()


def test_a_picture_that_needs_too_much_memory_fails_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given children that may use little more than the interpreter itself
    monkeypatch.setattr("api.intake.decoder.BASE_MEMORY_BYTES", 160 * 2**20)
    monkeypatch.setattr("api.intake.decoder.BYTES_PER_PIXEL", 0)
    decoders = Decoders(max_pixels=100_000_000)

    # When one picture wants 300 MB
    with pytest.raises(InvalidImage):
        normalised(decoders, photo(9000, 9000, "PNG"))

    # Then others are served as before
    assert normalised(decoders, photo()).width == 64
    decoders.close()


def test_decoders_are_replaced_after_their_share_of_pictures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("api.intake.decoder.USES_EACH", 2)
    decoders = Decoders(max_pixels=1_000_000)
    normalised(decoders, photo())
    (first,) = decoders._idle

    normalised(decoders, photo())

    assert decoders._idle == []
    assert first.exit_status is not None
    decoders.close()


def test_a_decoder_may_not_write_files_and_sees_no_environment(decoders: Decoders) -> None:
    normalised(decoders, photo())
    process = Path(f"/proc/{decoders._idle[0]._process.pid}")
    limits = (process / "limits").read_text().splitlines()
    lines = {line[:26].strip(): line[26:].split()[0] for line in limits}
    assert (process / "environ").read_bytes() == b""
    assert lines["Max file size"] == "0"
    assert lines["Max core file size"] == "0"
    assert lines["Max open files"] == "16"
    assert lines["Max address space"].isdigit()
