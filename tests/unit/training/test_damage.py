"""Damage: what each sort does, in which direction its level goes, and that it can be repeated."""

import numpy as np
import pytest

from worker.training.damage import (
    KINDS,
    RANGES,
    SORTS,
    Kind,
    Pixels,
    blurring,
    chains,
    compression,
    degrade,
    draw_damage,
    noise,
    scaling,
)
from worker.training.damage.pixels import convolved, disk_kernel, gaussian_kernel, line_kernel
from worker.training.metrics import psnr

# Their level is a quality: more is better.
QUALITIES = ("jpeg", "jpeg_twice", "webp")
MIDDLE_GREY = np.full((128, 128, 3), 128, np.uint8)


def scene(height: int = 48, width: int = 64) -> Pixels:
    coarse = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return blurring.gaussian(coarse, 0.8)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", SORTS)
def test_every_sort_keeps_the_size_and_loses_something(name: str) -> None:
    clean = scene(47, 63)
    damaged = SORTS[name].make(clean, SORTS[name].range.middle, generator())
    assert damaged.shape == clean.shape
    assert damaged.dtype == np.uint8
    assert psnr(damaged, clean) < 40


@pytest.mark.parametrize("name", SORTS)
def test_the_same_seed_makes_the_same_damage_and_leaves_the_photo_alone(name: str) -> None:
    clean = scene()
    first, second = (SORTS[name].make(clean, SORTS[name].range.middle, generator(4)) for _ in "12")
    assert np.array_equal(first, second)
    assert np.array_equal(clean, scene())


@pytest.mark.parametrize("name", SORTS)
def test_the_far_end_of_the_range_is_worse(name: str) -> None:
    sort, clean = SORTS[name], scene()

    def mean_psnr(level: float) -> float:
        return float(
            np.mean([psnr(sort.make(clean, level, generator(s)), clean) for s in range(4)])
        )

    low, high = (mean_psnr(level) for level in sort.range.measured)
    assert low < high if name in QUALITIES else low > high


@pytest.mark.parametrize("name", SORTS)
def test_the_trained_range_reaches_beyond_the_measured_one(name: str) -> None:
    (low, high), (lower, higher) = SORTS[name].range.measured, sorted(SORTS[name].range.trained)
    assert lower <= low < high <= higher
    random = generator()
    drawn = [SORTS[name].range.draw(random) for _ in range(800)]
    assert all(lower <= level <= higher for level in drawn)
    assert (np.median(drawn) > (lower * higher) ** 0.5) == (name in QUALITIES)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_plain_sort_and_others(kind: Kind) -> None:
    names = [name for name, sort in SORTS.items() if sort.kind == kind]
    assert len(names) > 1
    plain = degrade(scene(), kind, RANGES[kind].middle, generator())
    assert np.array_equal(plain, SORTS[names[0]].make(scene(), RANGES[kind].middle, generator()))


@pytest.mark.parametrize("sort", [noise.white, noise.grey, noise.correlated, noise.bayer])
def test_noise_has_the_deviation_asked_for_at_middle_grey(sort: object) -> None:
    assert callable(sort)
    found = np.mean([sort(MIDDLE_GREY, 12, generator(seed)).std() for seed in range(6)])
    assert found == pytest.approx(12, rel=0.08)


def neighbours(pixels: Pixels) -> float:
    """How alike noise is in pixels side by side: -1 to 1."""
    plane = pixels[..., 1].astype(float) - pixels[..., 1].mean()
    return float((plane[:, 1:] * plane[:, :-1]).mean() / plane.var())


def test_white_noise_is_independent_and_a_camera_s_is_not() -> None:
    assert abs(neighbours(noise.white(MIDDLE_GREY, 12, generator()))) < 0.03
    assert neighbours(noise.correlated(MIDDLE_GREY, 12, generator())) > 0.2
    assert neighbours(noise.bayer(MIDDLE_GREY, 12, generator())) > 0.2


def test_grain_is_equal_in_all_colours() -> None:
    grainy = noise.grey(MIDDLE_GREY, 12, generator())
    assert np.array_equal(grainy[..., 0], grainy[..., 2])


def test_shot_noise_grows_with_light_and_a_night_s_is_in_the_shadows() -> None:
    dark, bright = np.full_like(MIDDLE_GREY, 40), np.full_like(MIDDLE_GREY, 200)
    assert noise.signal_dependent(dark, 10, generator()).std() < 10
    assert noise.signal_dependent(bright, 10, generator()).std() > 10
    night = [noise.low_light(level, 10, generator()).std() for level in (dark, bright)]
    assert night[0] > 1.3 * night[1]


@pytest.mark.parametrize(
    "kernel",
    [gaussian_kernel(1.5, 1.5), gaussian_kernel(0.8, 2.4, 0.6), disk_kernel(3), line_kernel(9, 1)],
)
def test_blur_keeps_the_light(kernel: np.ndarray) -> None:
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    values = scene().astype(np.float32)
    assert convolved(values, kernel).mean() == pytest.approx(values.mean(), abs=1.5)


def test_a_point_widens_to_the_size_asked_for() -> None:
    point = np.zeros((41, 41, 1), np.float32)
    point[20, 20] = 1
    offsets = np.arange(41) - 20.0

    def spread(kernel: np.ndarray, axis: int) -> float:
        profile = convolved(point, kernel)[..., 0].sum(axis)
        assert profile @ offsets == pytest.approx(0, abs=1e-3)
        return float(np.sqrt(max(0.0, profile @ offsets**2)))

    assert spread(gaussian_kernel(1.5, 1.5), 0) == pytest.approx(1.5, abs=0.02)
    # The variance of a disk is a quarter of its squared radius, a line's a twelfth of its length's.
    assert spread(disk_kernel(5), 1) == pytest.approx(2.5, abs=0.2)
    assert spread(line_kernel(12, 0.0), 0) == pytest.approx(12 / 12**0.5, abs=0.4)
    assert spread(line_kernel(12, 0.0), 1) < 0.8


def block_steps(pixels: Pixels) -> int:
    """Where a grid of blocks begins: the column after which steps are largest."""
    steps = np.abs(np.diff(pixels.astype(float), axis=1)).mean((0, 2))
    return int(np.argmax([steps[first::8].mean() for first in range(8)]))


def test_a_second_jpeg_has_another_grid() -> None:
    assert block_steps(compression.jpeg(scene(96, 96), 10)) == 7
    fine = scene(96, 96)
    grids = {block_steps(compression.drawn_jpeg(fine, 10, generator(seed))) for seed in range(30)}
    assert len(grids) > 2
    # A second pass at the same quality changes nothing on the same grid, and much on another.
    once = compression.jpeg(fine, 40)
    again = [compression.jpeg(once, 40), compression.jpeg_twice(fine, 40, generator())]
    assert psnr(again[0], once) > 38 > psnr(again[1], once)


def test_over_sharpening_draws_rings_beside_an_edge() -> None:
    edge = np.full((40, 40, 3), 80, np.uint8)
    edge[:, 20:] = 160
    ringing = blurring.over_sharpened(edge, 1.0, generator())
    assert ringing.min() < 75
    assert ringing.max() > 165


def test_shrinking_by_any_filter_keeps_the_mean() -> None:
    for seed in range(12):
        small = scaling.drawn_resolution(scene(), 2.0, generator(seed))
        assert small.mean() == pytest.approx(scene().mean(), abs=6)


def test_what_is_drawn_is_varied_and_sometimes_nothing() -> None:
    random, clean = generator(), scene(64, 64)
    drawn = [draw_damage(clean, KINDS, random) for _ in range(60)]
    untouched = sum(np.array_equal(one, clean) for one in drawn)
    assert 0 < untouched < 20
    assert np.std([min(psnr(one, clean), 60) for one in drawn]) > 3


def test_mild_company_is_mild() -> None:
    random = generator()
    assert min(psnr(chains.mild_company(scene(), random), scene()) for _ in range(30)) > 20


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (16, 16)])
def test_small_and_narrow_pictures_are_damaged_as_well(size: tuple[int, int]) -> None:
    for seed, sort in enumerate(SORTS.values()):
        made = sort.make(scene(*size), sort.range.middle, generator(seed))
        assert made.shape == (*size, 3)
