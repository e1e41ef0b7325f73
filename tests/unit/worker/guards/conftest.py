"""Guards that take a second to load, once for all tests."""

import pytest

from worker.guards.text import TextGuard
from worker.guards.unsafe import OpenNsfw


@pytest.fixture(scope="session")
def text_guard() -> TextGuard:
    return TextGuard()


@pytest.fixture(scope="session")
def open_nsfw() -> OpenNsfw:
    return OpenNsfw()
