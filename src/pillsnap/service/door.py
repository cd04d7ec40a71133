"""Who may ask: Host, Origin and key of every request, judged before a route sees it."""

import hmac
import ipaddress
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pillsnap.service.bodies import problem

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
OPEN_PATHS = frozenset({"/", "/service.js", "/service.css", "/healthz", "/openapi.json"})
HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' blob:; base-uri 'none'; form-action 'none'; "
        b"frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


@dataclass(frozen=True)
class Access:
    """What the service answers to: loopback names only, or any name with a key."""

    any_host: bool = False
    key: str | None = None


def refusal(access: Access, scope: Scope) -> tuple[int, str] | None:
    """Status and reason where a request may not pass."""
    hosts, origins = _header(scope, b"host"), _header(scope, b"origin")
    if len(hosts) != 1 or not (access.any_host or _name(hosts[0]) in LOOPBACK):
        return 400, "The service does not answer to this Host."
    if origins and origins != [f"http://{hosts[0]}"] and origins != [f"https://{hosts[0]}"]:
        return 403, "Pages of another origin may not use the service."
    if access.key is not None and scope["path"] not in OPEN_PATHS and not _fits(access.key, scope):
        return 401, "A key is needed: Authorization: Bearer <key>, or X-API-Key: <key>."
    return None


class Door:
    """ASGI wrapper: refuses what `refusal` names, adds the security headers to the rest."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        refused = refusal(self._access, scope)
        if refused is None:
            await self._app(scope, receive, send_guarded)
            return
        await problem(*refused)(scope, receive, send_guarded)


def _header(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _name(host: str) -> str:
    """The host without its port: `[::1]:80` -> `::1`."""
    bare = host.lower()
    try:
        return str(ipaddress.ip_address(bare.strip("[]")))
    except ValueError:
        return bare.rpartition(":")[0].strip("[]") if ":" in bare else bare


def _fits(key: str, scope: Scope) -> bool:
    bearers = [v[7:] for v in _header(scope, b"authorization") if v[:7].lower() == "bearer "]
    offered = [*bearers, *_header(scope, b"x-api-key")]
    wanted = key.encode("utf-8", "replace")
    return any(hmac.compare_digest(item.encode("latin-1"), wanted) for item in offered)
