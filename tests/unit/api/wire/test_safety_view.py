"""What guards suspect of a picture that is shown: as a code, and in the caller's language."""

from api.wire.presenter import result_view
from shared.jobs import Safety
from tests.support.jobs import make_result


def test_a_suspicion_is_a_flag_and_a_sentence() -> None:
    suspected = Safety(nsfw=0.1, flags=["maybe_watermark"])
    result = make_result().model_copy(update={"safety": suspected})
    english, chinese = (result_view(result, language).safety for language in ("en", "zh"))
    assert english.flags == ["maybe_watermark"]
    assert english.nsfw == 0.1
    assert [notice.code for notice in english.warnings] == ["maybe_watermark"]
    assert "may have added a watermark" in english.warnings[0].message
    assert "水印" in chinese.warnings[0].message


def test_without_suspicions_there_is_nothing_to_say() -> None:
    assert result_view(make_result(), "en").safety.warnings == []


def test_a_flag_of_a_later_version_is_shown_as_it_is() -> None:
    result = make_result().model_copy(update={"safety": Safety(flags=["maybe_forged"])})
    (notice,) = result_view(result, "en").safety.warnings
    assert (notice.code, notice.message) == ("maybe_forged", "maybe_forged")
