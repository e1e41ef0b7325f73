"""docs/faces.md says of every route and field whether it is honoured, ignored or refused."""

import re

import pytest

from api.faces.openai import form as openai_form
from api.faces.openai import orders as openai_orders
from api.faces.openai.routes import OTHER_APIS
from api.faces.openai.routes import router as openai_router
from api.faces.sdapi import extras_form, form
from api.faces.sdapi.routes import router as sdapi_router
from shared.settings import REPOSITORY

PAGE = (REPOSITORY / "docs" / "faces.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
NAMES = {title: set(re.findall(r"`([^`\n]+)`", text)) for title, text in SECTIONS.items()}
OPENAI, SDAPI = NAMES["OpenAI images"], NAMES["AUTOMATIC1111"]


def test_every_field_of_openai_is_in_the_table() -> None:
    fields = {*openai_form.EditForm.model_fields, *openai_form.IGNORED, *openai_orders.FILES}

    assert fields | set(openai_orders.REFUSED) <= OPENAI


def test_every_route_of_openai_is_in_the_table() -> None:
    others = {f"/v1/{path}" for path in OTHER_APIS}
    paths = {route.path.replace(":path", "") for route in openai_router.routes} - others  # type: ignore[attr-defined]

    assert paths <= {name.rpartition(" ")[2] for name in OPENAI}


@pytest.mark.parametrize(
    "fields",
    [
        form.Img2Img.model_fields,
        form.WITHOUT_EFFECT,
        form.OF_A_MASK,
        extras_form.SingleExtras.model_fields,
        extras_form.BatchExtras.model_fields,
    ],
)
def test_every_field_of_automatic1111_is_in_the_tables(fields: dict[str, object]) -> None:
    assert set(fields) <= SDAPI


def test_every_route_of_automatic1111_is_in_the_table() -> None:
    paths = {route.path for route in sdapi_router.routes}  # type: ignore[attr-defined]

    assert {path.removeprefix("/sdapi/v1/").removeprefix("/") for path in paths} <= SDAPI
