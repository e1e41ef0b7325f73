"""Which faces this deployment offers: RETOUCH_FACES.

Owns the list of all faces.
"""

from types import ModuleType
from typing import Any

from fastapi import APIRouter

from api.faces.mcp import docs as mcp
from api.faces.mcp.door import McpDoor
from api.faces.openai import routes as openai
from api.faces.sdapi import routes as sdapi
from shared.settings import Settings

FACES: dict[str, ModuleType] = {"openai": openai, "sdapi": sdapi}


def face_routers(settings: Settings) -> list[APIRouter]:
    """The routes of the active faces."""
    return [FACES[name].router for name in settings.face_names if name in FACES]


def mcp_door(settings: Settings) -> McpDoor | None:
    """The application for the Model Context Protocol, if that face is active."""
    return McpDoor() if "mcp" in settings.face_names else None


def face_tags(settings: Settings) -> list[dict[str, Any]]:
    """The tags by which OpenAPI groups the faces."""
    known = FACES | {"mcp": mcp}
    return [known[name].TAG for name in settings.face_names if name in known]


def face_paths(settings: Settings) -> dict[str, Any]:
    """Addresses of the faces that FastAPI has no routes for, as OpenAPI describes them."""
    return mcp.PATHS if "mcp" in settings.face_names else {}
