"""Whatever is sent, the answer is a job's form or a refusal that names the field."""

from hypothesis import given, settings
from hypothesis import strategies as st

from api.access.keys import Keyring
from api.intake.header import read_header
from api.jobs.idempotency import checked_key
from api.jobs.job_form import PARAM_FIELDS, JobForm, read_job_form
from api.routes.jobs import LONGEST_WAIT_SECONDS, wait_seconds
from api.wire.errors import InvalidFields
from shared.errors import RetouchError
from shared.messages import LANGUAGES, Language
from shared.settings import BadSettings, Settings

NAMES = st.sampled_from([*PARAM_FIELDS, "lora", "image_id"]) | st.text(max_size=20)
VALUES = (
    st.text(max_size=80)
    | st.floats().map(str)
    | st.integers().map(str)
    | st.sampled_from(["true", "none", "auto", "a:1", "a:nan", "1e999", "0x10", "１", "-0"])
)
STARTS = st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x10\0\0\0WEBPVP8X"])


DEPLOYMENT = Settings(_env_file=None)  # type: ignore[call-arg]


def read(
    fields: list[tuple[str, str]], has_file: bool, language: Language
) -> JobForm | InvalidFields:
    try:
        return read_job_form(
            tuple(fields), has_file=has_file, settings=DEPLOYMENT, language=language
        )
    except InvalidFields as refused:
        return refused


@given(fields=st.lists(st.tuples(NAMES, VALUES), max_size=8), has_file=st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_form_is_read_or_refused_with_pointers(
    fields: list[tuple[str, str]], has_file: bool
) -> None:
    for language in LANGUAGES:
        outcome = read(fields, has_file, language)
        if isinstance(outcome, JobForm):
            assert len(outcome.fingerprint("")) == 64
        else:
            assert outcome.problems
            assert all(item.pointer.startswith("/") and item.detail for item in outcome.problems)


@given(start=STARTS, rest=st.binary(max_size=200))
@settings(max_examples=500, deadline=None)
def test_any_bytes_have_a_header_or_a_refusal(start: bytes, rest: bytes) -> None:
    try:
        header = read_header(start + rest)
    except RetouchError:
        return
    assert 0 <= header.width <= 2**32
    assert 0 <= header.height <= 2**32


@given(st.text(max_size=100))
def test_any_prefer_header_is_a_wait_within_bounds(text: str) -> None:
    assert 0 <= wait_seconds(text) <= LONGEST_WAIT_SECONDS


@given(st.text(max_size=300))
def test_any_idempotency_key_is_taken_whole_or_refused(text: str) -> None:
    try:
        assert checked_key(text) == text
    except InvalidFields:
        assert (
            not text.isascii() or not text.isprintable() or " " in text or not 1 <= len(text) <= 255
        )


@given(st.text(max_size=100), st.binary(max_size=50))
def test_any_list_of_keys_is_read_or_refused_by_name(text: str, key: bytes) -> None:
    try:
        keyring = Keyring(Settings(api_keys=text, _env_file=None).api_keys)
    except BadSettings as refused:
        complaint = str(refused)
    else:
        keyring.find(key)
        return
    assert complaint.startswith("RETOUCH_API_KEYS: key number")
