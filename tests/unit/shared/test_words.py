"""The words: every code, stage and degradation has them in both languages."""

import pytest

from shared.bases import identify_base
from shared.errors import ERRORS, RetouchError
from shared.jobs import JobState, Stage
from shared.messages import LANGUAGES, Language, advice, choose_language, stage_message, title


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_code_has_a_sentence_and_a_next_step(language: Language) -> None:
    for code in ERRORS:
        assert title(code, language).strip()
        assert advice(code, language).strip()
    for stage in [*Stage, *JobState]:
        assert stage_message(str(stage), language).strip()


def test_chinese_words_are_chinese() -> None:
    for code in ERRORS:
        assert any("\u4e00" <= letter <= "\u9fff" for letter in title(code, "zh"))
        assert any("\u4e00" <= letter <= "\u9fff" for letter in advice(code, "zh"))


def test_every_error_says_when_it_is_raised_and_takes_only_a_message() -> None:
    for error in ERRORS.values():
        assert (error.__doc__ or "").startswith("Raised ")
        assert error.__init__ is RetouchError.__init__
        assert str(error("why")) == "why"


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("zh-CN,zh;q=0.9", "zh"),
        ("fr, zh;q=0.5, en;q=0.9", "en"),
        ("fr", "en"),
        ("zh;q=0", "en"),
        ("zh;q=oops, en", "en"),
        (";;;,,,", "en"),
    ],
)
def test_the_callers_first_language_that_we_speak_is_taken(
    header: str | None, language: str
) -> None:
    assert choose_language(header) == language


@pytest.mark.parametrize(
    ("base_model", "base"),
    [
        ("stable-diffusion-v1-5/stable-diffusion-v1-5", "sd15"),
        ("stabilityai/stable-diffusion-2-1", "sd21"),
        ("stabilityai/stable-diffusion-xl-base-1.0", "sdxl"),
        ("black-forest-labs/FLUX.1-dev", "flux"),
        ("somebody/something", "unknown"),
    ],
)
def test_a_hub_id_tells_its_family(base_model: str, base: str) -> None:
    assert identify_base(base_model).id == base
