"""Which faces this deployment shows: RETOUCH_FACES.

Owns the list of them all.
"""

from types import ModuleType
from typing import Any

from fastapi import APIRouter

from api.faces.mcp.door import McpDoor
from api.faces.openai import routes as openai
from api.faces.sdapi import routes as sdapi
from shared.settings import Settings

FACES: dict[str, ModuleType] = {"openai": openai, "sdapi": sdapi}


def face_routers(settings: Settings) -> list[APIRouter]:
    """The routes of the faces that are on."""
    return [FACES[name].router for name in settings.face_names if name in FACES]


def mcp_door(settings: Settings) -> McpDoor | None:
    """The Model Context Protocol's address, where it is on."""
    return McpDoor() if "mcp" in settings.face_names else None


def face_tags(settings: Settings) -> list[dict[str, Any]]:
    """How OpenAPI groups them."""
    return [FACES[name].TAG for name in settings.face_names if name in FACES]
