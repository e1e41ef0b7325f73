"""Where results go."""

from pathlib import Path

import pytest

from retouch.files import (
    BadOutput,
    comparison_path,
    format_of,
    output_paths,
    with_ending,
    write_whole,
)


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_one_photo_goes_into_the_file_that_is_named(tmp_path: Path) -> None:
    out = tmp_path / "new" / "better.png"
    assert output_paths([tmp_path / "a.jpg"], str(out), ".png") == [out]


def test_one_photo_and_a_folder_that_exists_keeps_its_stem(tmp_path: Path) -> None:
    assert output_paths([Path("a.jpg")], str(tmp_path), ".png") == [tmp_path / "a.png"]


def test_one_photo_and_a_name_with_a_slash_at_its_end_keeps_its_stem(tmp_path: Path) -> None:
    out = f"{tmp_path}/new/"
    assert output_paths([Path("a.jpg")], out, ".png") == [tmp_path / "new" / "a.png"]


def test_several_photos_keep_their_stems_in_the_folder(tmp_path: Path) -> None:
    photos = [Path("x/a.jpg"), Path("y/b.webp")]
    assert names(output_paths(photos, str(tmp_path / "new"), ".png")) == ["a.png", "b.png"]


def test_photos_with_equal_stems_do_not_overwrite_each_other(tmp_path: Path) -> None:
    photos = [Path("x/a.jpg"), Path("y/a.png"), Path("y/A.webp"), Path("x/a-2.jpg")]
    paths = output_paths(photos, str(tmp_path), ".png")
    assert names(paths) == ["a.png", "a-2.png", "A-3.png", "a-2-2.png"]
    assert len({str(path).lower() for path in paths}) == len(photos)


def test_a_photo_in_the_output_folder_is_not_written_over(tmp_path: Path) -> None:
    photos = [tmp_path / "a.png", tmp_path / "b.png"]
    assert names(output_paths(photos, str(tmp_path), ".png")) == ["a-2.png", "b-2.png"]


def test_several_photos_into_one_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadOutput, match="need a folder"):
        output_paths([Path("a.jpg"), Path("b.jpg")], str(tmp_path / "file"), ".png")


def test_the_photo_itself_is_refused_as_output(tmp_path: Path) -> None:
    photo = tmp_path / "a.png"
    with pytest.raises(BadOutput, match="the photo itself"):
        output_paths([photo], str(tmp_path / "." / "a.png"), ".png")


def test_without_an_output_results_lie_beside_their_photos_under_free_names(
    tmp_path: Path,
) -> None:
    (tmp_path / "a_enhanced.png").touch()
    photos = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    assert names(output_paths(photos, None, ".png")) == ["a_enhanced-2.png", "b_enhanced.png"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.png", "png"),
        ("a.JPG", "jpeg"),
        ("a.jpeg", "jpeg"),
        ("a.jfif", "jpeg"),
        ("a.webp", "webp"),
        ("a", None),
        ("a.heic", None),
    ],
)
def test_a_files_name_tells_its_format(name: str, expected: str | None) -> None:
    assert format_of(Path(name)) == expected


def test_a_format_that_is_taken_but_not_made_is_refused_as_the_output() -> None:
    with pytest.raises(
        BadOutput, match=r"\.HEIC files are not produced; name the output \.jpg, \.png"
    ):
        output_paths([Path("a.jpg")], "better.HEIC")


def test_names_whose_ending_is_open_are_free_with_every_ending(tmp_path: Path) -> None:
    (tmp_path / "a_enhanced.webp").touch()
    photos = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    assert names(output_paths(photos, None)) == ["a_enhanced-2", "b_enhanced"]
    inside = output_paths([tmp_path / "a.jpg", tmp_path / "a.png"], str(tmp_path))
    assert names(inside) == ["a-2", "a-3"]


NAMES = ["x" * 251, "写真" * 41, "Ünïcödé" * 22, "é" * 80, "क्षि" * 20, "a\udcff" * 120]


@pytest.mark.parametrize("stem", NAMES)
@pytest.mark.parametrize("extension", ["", ".jpg"])
def test_names_of_two_hundred_and_fifty_five_bytes_are_shortened_and_can_be_written(
    tmp_path: Path, stem: str, extension: str
) -> None:
    photo = tmp_path / f"{stem}.png"
    photo.touch()
    for out in (None, str(tmp_path / "new")):
        paths = output_paths([photo, tmp_path / f"{stem}.bmp"], out, extension)
        ready = [path if extension else with_ending(path, ".webp") for path in paths]
        assert len({str(path) for path in ready}) == 2
        for path in [*ready, *map(comparison_path, ready)]:
            path.parent.mkdir(exist_ok=True)
            write_whole(path, b"picture")
            assert path.read_bytes() == b"picture"
            assert not path.name.startswith("\u0301")


def test_a_letter_is_not_cut_apart_from_its_accents() -> None:
    accented = "e\u0301\u0323"  # one letter of five bytes
    assert with_ending(Path("ab" + accented), ".jpg", room=10).name == "ab.jpg"
    assert with_ending(Path("ab" + accented), ".jpg", room=11).name == f"ab{accented}.jpg"


def test_the_longest_name_that_is_asked_for_is_written_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / ("字" * 83 + "xx.png")
    write_whole(path, b"picture")
    assert path.read_bytes() == b"picture"


def test_a_comparison_lies_beside_its_picture() -> None:
    assert comparison_path(Path("out/me_enhanced.png")) == Path("out/me_before_after.png")


def test_a_file_that_cannot_be_written_leaves_the_old_one_and_no_part(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(OSError, match="folder"):
        write_whole(target, b"bytes")
    assert names(list(tmp_path.iterdir())) == ["folder"]
