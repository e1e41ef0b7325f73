"""Who may do what: the dependencies that run before every route of the API.

Owns reading credentials from a request, scopes, the rate limit, and the check of `Origin`.
"""

import base64
from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from api.access.foreign_pages import tell_refused_page
from api.access.hosts import netloc_of
from api.access.keys import ALL_SCOPES, ANONYMOUS, DEFAULT_SCOPES, Caller, Scope
from api.services import Services
from api.wire.errors import language_of
from api.wire.sentence import Sentence
from shared.errors import Forbidden, Unauthenticated
from shared.messages import Language

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def services_of(connection: HTTPConnection) -> Services:
    """The services of this gateway."""
    services: Services = connection.app.state.services
    return services


def identify(connection: HTTPConnection, services: Services) -> Caller:
    """Identifies the caller. Raises Unauthenticated."""
    key = _key_of(connection)
    if not services.keys:
        return anonymous(connection, ALL_SCOPES)
    if key is None and services.settings.allow_anonymous:
        return anonymous(connection, DEFAULT_SCOPES)
    caller = services.keys.find(key) if key else None
    if caller is None:
        raise Unauthenticated()
    return caller


def anonymous(connection: HTTPConnection, scopes: frozenset[Scope]) -> Caller:
    """A caller without a key."""
    return Caller(ANONYMOUS, scopes, is_known=False, address=_address(connection))


def check_origin(connection: HTTPConnection, services: Services) -> None:
    """Refuses pages of another origin unless it is on the list. Raises Forbidden."""
    origin = connection.headers.get("origin")
    settings = services.settings
    if origin is None or {origin, "*"} & set(settings.cors_origins):
        return
    own = {connection.headers.get("host", "").lower(), *map(netloc_of, settings.public_url)}
    if _place_of(origin) not in own:
        tell_refused_page(origin)
        raise Forbidden(
            Sentence(
                f"a page of {origin[:200]} may not use the service; "
                f"RETOUCH_CORS_ORIGINS={origin[:200]} lets it, or, if that is where a proxy shows "
                f"this service, RETOUCH_PUBLIC_URL={origin[:200]}",
                f"{origin[:200]} 的网页不能使用本服务；设置 RETOUCH_CORS_ORIGINS={origin[:200]} "
                f"即可；如果它是代理后本服务的地址，请设置 RETOUCH_PUBLIC_URL={origin[:200]}",
            )
        )


def _place_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def require(scope: Scope) -> Callable[..., Coroutine[Any, Any, Caller]]:
    """A dependency that admits only callers with this scope, within their rate."""

    async def guarded(request: Request, services: "ServicesDep") -> Caller:
        if request.method not in SAFE_METHODS:
            check_origin(request, services)
        makes_work = request.method == "POST" and scope is Scope.SUBMIT
        return await admit(request, services, scope, makes_work)

    return guarded


async def admit(
    connection: HTTPConnection, services: Services, scope: Scope, makes_work: bool = False
) -> Caller:
    """Returns the caller after checking the key, the rate and the scope.

    Raises Unauthenticated, RateExceeded, Forbidden, StoreUnavailable.
    """
    try:
        caller = identify(connection, services)
    except Unauthenticated:
        # Callers who guess keys are rate-limited like all others.
        await run_in_threadpool(services.rate.check, f"unknown@{_address(connection)}", None, False)
        raise
    if services.rate.is_limited(caller.rate, makes_work):
        name = who(connection, caller)
        await run_in_threadpool(services.rate.check, name, caller.rate, makes_work)
    check_scope(caller, scope)
    connection.state.caller = caller.name
    return caller


def check_scope(caller: Caller, scope: Scope) -> None:
    """Raises Forbidden."""
    if scope not in caller.scopes:
        raise Forbidden(f"the key lacks the scope '{scope}'")


def _key_of(connection: HTTPConnection) -> bytes | None:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        return _password(token)
    text = token.strip() if scheme.lower() == "bearer" else connection.headers.get("x-api-key")
    # Starlette decodes headers as Latin-1; the sender's bytes are what was hashed.
    return text.encode("latin-1") if text else None


def _password(token: str) -> bytes | None:
    """The key of clients that only support names and passwords: the password is the key; any name
    will do.
    """
    try:
        return base64.b64decode(token, validate=True).partition(b":")[2] or None
    except ValueError:
        return None


def who(connection: HTTPConnection, caller: Caller) -> str:
    """A name for the caller; callers without a key are told apart by address."""
    return caller.name if caller.is_known else f"{ANONYMOUS}@{_address(connection)}"


def _address(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else "nowhere"


# Coroutines, because FastAPI calls a function in a thread, which takes longer than these two do.
async def _services_of(connection: HTTPConnection) -> Services:
    return services_of(connection)


async def _language_of(connection: HTTPConnection) -> Language:
    return language_of(connection)


ServicesDep = Annotated[Services, Depends(_services_of)]
LanguageDep = Annotated[Language, Depends(_language_of)]
Submitter = Annotated[Caller, Depends(require(Scope.SUBMIT))]
Reader = Annotated[Caller, Depends(require(Scope.READ))]
Scraper = Annotated[Caller, Depends(require(Scope.METRICS))]
Operator = Annotated[Caller, Depends(require(Scope.ADMIN))]
