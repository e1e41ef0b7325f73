"""The JavaScript client's types are those of this version's OpenAPI document."""

from tests.support.client_types import TYPES, document, stamp


def test_the_types_were_made_from_this_versions_document() -> None:
    first = TYPES.read_text().partition("\n")[0]

    assert first == stamp(document()), "the API's types have changed: make client-types"
