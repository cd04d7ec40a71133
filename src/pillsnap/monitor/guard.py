"""Who may ask: each request is judged by method, Host, Origin and token before a route sees it."""

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "pillsnap_monitor"
COOKIE_AGE_S = 30 * 24 * 3600
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
SECURITY_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


@dataclass(frozen=True, slots=True)
class Access:
    """What the server answers to: host names (any IP address too where `any_address`), a token."""

    names: frozenset[str] = LOOPBACK_NAMES
    any_address: bool = False
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP status and the sentence that goes with it."""

    status: int
    reason: str


def refusal(access: Access, scope: Scope) -> Refusal | None:
    """Why this HTTP or WebSocket request is refused, or None where it may pass."""
    if scope["type"] == "http" and scope["method"] != "GET":
        return Refusal(405, "This page is for reading only: use GET.")
    hosts, origins = _header(scope, b"host"), _header(scope, b"origin")
    if len(hosts) != 1 or len(origins) > 1:
        return Refusal(400, "The request needs exactly one Host and at most one Origin.")
    if not _host_is_ours(access, hosts[0]):
        return Refusal(400, "The monitor does not answer to this Host.")
    if origins and origins[0] not in (f"http://{hosts[0]}", f"https://{hosts[0]}"):
        return Refusal(403, "Pages of another origin may not read the monitor.")
    if _is_foreign_fetch(scope):
        return Refusal(403, "Another site may link to the monitor but not load from it.")
    if access.token is not None and not _token_fits(access.token, scope):
        return Refusal(401, "A token is needed: open /?token=... once, or send it as a Bearer.")
    return None


class Guard:
    """ASGI wrapper: refuses what `refusal` names and adds the security headers to the rest."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refused = refusal(self._access, scope)
        if refused is not None:
            await _refuse(refused, scope, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *SECURITY_HEADERS, *self._cookie(scope)]
            await send(message)

        await self._app(scope, receive, send_guarded)

    def _cookie(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        # So that style sheets, scripts and the socket need no token in their addresses.
        if self._access.token is None or not _query_token(scope):
            return []
        content = f"{COOKIE}={_digest(self._access.token)}; Max-Age={COOKIE_AGE_S}; Path=/"
        return [(b"set-cookie", f"{content}; HttpOnly; SameSite=Strict".encode())]


async def _refuse(refused: Refusal, scope: Scope, send: Send) -> None:
    body = refused.reason.encode()
    prefix = "http.response"
    if scope["type"] == "websocket":
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008, "reason": refused.reason})
            return
        prefix = "websocket.http.response"
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        *SECURITY_HEADERS,
    ]
    if refused.status == 405:
        headers.append((b"allow", b"GET"))
    await send({"type": f"{prefix}.start", "status": refused.status, "headers": headers})
    await send({"type": f"{prefix}.body", "body": body})


def _header(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _host_is_ours(access: Access, host: str) -> bool:
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        name, port = host, ""
    if colon and not host.endswith("]") and not (port.isascii() and port.isdigit()):
        return False
    name = name.lower()
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    return name in access.names or (access.any_address and _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_foreign_fetch(scope: Scope) -> bool:
    site, mode = _header(scope, b"sec-fetch-site"), _header(scope, b"sec-fetch-mode")
    return bool({"cross-site", "same-site"} & set(site)) and mode != ["navigate"]


def _token_fits(token: str, scope: Scope) -> bool:
    bearers = [v[7:] for v in _header(scope, b"authorization") if v[:7].lower() == "bearer "]
    offered = [*bearers[:1], *_query_token(scope)]
    if any(hmac.compare_digest(_digest(item), _digest(token)) for item in offered):
        return True
    return hmac.compare_digest(_cookie_value(scope), _digest(token))


def _query_token(scope: Scope) -> list[str]:
    query = scope["query_string"].decode("latin-1")
    return parse_qs(query, max_num_fields=20).get("token", [])[:1] if query.count("&") < 20 else []


def _cookie_value(scope: Scope) -> str:
    jar: SimpleCookie = SimpleCookie()
    try:
        for value in _header(scope, b"cookie"):
            jar.load(value)
    except CookieError:
        return ""
    return jar[COOKIE].value.encode("ascii", "replace").decode() if COOKIE in jar else ""


def _digest(token: str) -> str:
    return hashlib.sha256(b"pillsnap monitor " + token.encode("utf-8", "replace")).hexdigest()
