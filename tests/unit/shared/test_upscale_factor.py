"""How many times larger a result is, and why, from the photo's size."""

import pytest
from pydantic import ValidationError

from shared.params import JobParams
from shared.sizes import result_size
from shared.upscalers.factor import settle_factor


@pytest.mark.parametrize(
    ("size", "factor"),
    [((1024, 10), 1), ((4000, 3000), 1), ((1023, 600), 2), ((512, 512), 2), ((511, 300), 4),
     ((96, 96), 4), ((1, 1), 4)],
)  # fmt: skip
def test_auto_is_the_smallest_factor_that_brings_it_there(
    size: tuple[int, int], factor: int
) -> None:
    settled = settle_factor(JobParams(), size)
    assert settled.factor == factor
    assert settled.upscale_reason
    assert f"{max(size):,}" in settled.upscale_reason
    assert settled.upscale_reason_zh


def test_what_the_caller_chose_stays_and_needs_no_reason() -> None:
    settled = settle_factor(JobParams(upscale=3), (100, 100))
    assert (settled.factor, settled.upscale_reason) == (3, None)


def test_max_side_is_a_wish_for_a_small_picture() -> None:
    assert settle_factor(JobParams(max_side=300), (400, 200)).factor == 1
    settled = settle_factor(JobParams(max_side=800), (600, 300))
    assert settled.factor == 2
    assert result_size((600, 300), settled) == (800, 400)


@pytest.mark.parametrize(("most", "factor"), [(4, 4), (3, 2), (1, 1)])
def test_auto_asks_for_no_more_than_the_service_makes(most: int, factor: int) -> None:
    settled = settle_factor(JobParams(), (200, 100), lambda wanted: wanted <= most)
    assert settled.factor == factor
    assert ("limits" in (settled.upscale_reason or "")) == (factor < 4)
    assert settled.upscale_reason_zh


@pytest.mark.parametrize("text", ["2", "2.0", 2, 2.0, "auto"])
def test_a_form_may_write_a_factor_in_any_way(text: object) -> None:
    assert JobParams.model_validate({"upscale": text}).upscale in (2, "auto")


@pytest.mark.parametrize("text", ["5", "0", "1.5", "nan", "inf", "1e999", "", "two", "-2", True])
def test_other_factors_are_refused(text: object) -> None:
    with pytest.raises(ValidationError):
        JobParams.model_validate({"upscale": text})
