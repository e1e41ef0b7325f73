"""docs/errors.md lists every code with its status, words and wait, as the service has them."""

from api.wire.problems import RETRY_AFTER, STATUS
from shared.errors import ERRORS
from shared.messages import advice, title
from shared.settings import REPOSITORY

PAGE = REPOSITORY / "docs" / "errors.md"
HEAD = (
    "| code | status | what it says | what it advises | wait |\n| --- | --- | --- | --- | --- |\n"
)


def table() -> str:
    """What the page has to hold."""
    return HEAD + "".join(
        f"| `{code}` | {STATUS[code]} | {title(code)} | {advice(code)} | {wait(code)} |\n"
        for code in sorted(STATUS, key=lambda code: (STATUS[code], code))
    )


def wait(code: str) -> str:
    seconds = RETRY_AFTER.get(code)
    if seconds is None:
        return "try again" if ERRORS[code].retryable else ""
    return f"{seconds} s"


def test_every_code_has_a_status() -> None:
    assert set(STATUS) == set(ERRORS)


def test_the_page_lists_every_code_as_the_service_answers_it() -> None:
    assert table() in PAGE.read_text("utf-8"), f"put this into docs/errors.md:\n\n{table()}"
