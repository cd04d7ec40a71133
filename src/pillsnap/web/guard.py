"""The access checks of both servers: method, Host, Origin and secret, before any route runs."""

import hashlib
import hmac
import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pillsnap.errors import UserError

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
HEALTH = "/healthz"  # answered to anyone: load balancers send no Host, or any
PAGE = "/page"  # where the files of a page are
SHORTEST_SECRET = 16
COOKIE_AGE_S = 30 * 24 * 3600
HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]{1,5})?", re.IGNORECASE)
HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Policy:
    """What differs between the two servers."""

    server: str  # its name in messages
    variable: str  # environment variable that holds the secret
    credentials: str  # how a client sends it, for messages
    refuse: Callable[[int, str], Response]
    hint: str = ""  # what follows once the secret is set
    methods: frozenset[str] | None = None  # None: each route has its own
    open_paths: frozenset[str] = frozenset()  # and what is below them: no secret needed
    cookie: str = ""  # where set: `?token=` is accepted too, and leaves this cookie
    any_name: bool = False  # beyond loopback any Host is answered; the secret protects

    @property
    def cure(self) -> str:
        """How to set a secret, as a shell command."""
        make = "import secrets; print(secrets.token_urlsafe(24))"
        return f"export {self.variable}=\"$(python3 -c '{make}')\"\n{self.hint}".strip()


@dataclass(frozen=True, slots=True)
class Access:
    """Host names that are answered (None: any; IP addresses too where `any_address`), the secret.

    `proxies` are names that proxies use for the server: valid as Host and in Origin.
    """

    names: frozenset[str] | None = LOOPBACK
    any_address: bool = False
    secret: str | None = None
    proxies: frozenset[str] = frozenset()


def access_for(policy: Policy, host: str, secret: str | None, proxies: Iterable[str]) -> Access:
    """Access for a server that listens on `host`; beyond loopback UserError without a secret."""
    if secret and len(secret) < SHORTEST_SECRET:
        fact = f"{policy.variable} has {len(secret)} characters, fewer than {SHORTEST_SECRET}."
        raise UserError(fact, policy.cure)
    allowed = frozenset(map(_proxy, proxies))
    if host in LOOPBACK:
        return Access(secret=secret or None, proxies=allowed)
    if not secret:
        raise UserError(f"--host {host} opens the {policy.server} to the network.", policy.cure)
    own = socket.gethostname().lower()
    names = None if policy.any_name else LOOPBACK | {host.lower(), own, f"{own}.local"}
    return Access(names, any_address=True, secret=secret, proxies=allowed)


def refusal(policy: Policy, access: Access, scope: Scope) -> tuple[int, str] | None:
    """Status and reason to refuse this HTTP or WebSocket request, None where it may pass."""
    if policy.methods and scope["type"] == "http" and scope["method"] not in policy.methods:
        return 405, f"The {policy.server} is read-only: use GET."
    hosts, origins = _header(scope, b"host"), _header(scope, b"origin")
    if len(hosts) != 1 or len(origins) > 1:
        return 400, "The request needs exactly one Host and at most one Origin."
    if not _answers_to(access, hosts[0]):
        return 400, f"The {policy.server} does not answer to this Host; see --allow-host."
    site, mode = _header(scope, b"sec-fetch-site"), _header(scope, b"sec-fetch-mode")
    if {"cross-site", "same-site"} & set(site) and mode != ["navigate"]:
        return 403, f"Another site may link to the {policy.server} but not load from it."
    if origins and site != ["same-origin"] and not _is_own(access, origins[0], hosts[0]):
        return 403, f"Pages of another origin may not use the {policy.server}; see --allow-host."
    first = "/" + scope["path"].lstrip("/").split("/")[0]
    secret = None if first in policy.open_paths else access.secret
    bearers = [v[7:] for v in _header(scope, b"authorization") if v[:7].lower() == "bearer "]
    offered = [*bearers, *_header(scope, b"x-api-key")]
    offered += _query_token(scope) if policy.cookie else []
    if secret and not _is_among(secret, [*map(_digest, offered), *_cookies(policy, scope)]):
        return 401, policy.credentials
    return None


class Guard:
    """ASGI middleware: refuses what `refusal` names, adds the security headers to every answer."""

    def __init__(self, app: ASGIApp, policy: Policy, access: Access) -> None:
        self._app, self._policy, self._access = app, policy, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                own = {name for name, _ in message["headers"]}  # a route may have its own policy
                added = [*HEADERS.items(), *self._cookie(scope)]
                encoded = [(name.encode(), value.encode()) for name, value in added]
                missing = [pair for pair in encoded if pair[0] not in own]
                message["headers"] = [*message["headers"], *missing]
            await send(message)

        refused = None
        if scope["type"] == "websocket" or scope["path"] != HEALTH:
            refused = refusal(self._policy, self._access, scope)
        app = self._policy.refuse(*refused) if refused else self._app
        await app(scope, receive, send_guarded)

    def _cookie(self, scope: Scope) -> list[tuple[str, str]]:
        # So that style sheets, scripts and the socket need no token in their addresses.
        name, secret = self._policy.cookie, self._access.secret
        if not name or not secret or not _is_among(secret, map(_digest, _query_token(scope))):
            return []
        content = f"{name}={_digest(secret)}; Max-Age={COOKIE_AGE_S}; Path=/"
        return [("set-cookie", f"{content}; HttpOnly; SameSite=Strict")]


def _proxy(name: str) -> str:
    bare = name.strip("[]").lower()
    if not bare or (_name_of(bare) != bare and not _is_address(bare)):
        raise UserError(
            f"--allow-host {name} is not a host name.",
            "Give the name alone, without scheme, port and path: --allow-host pills.example.org",
        )
    return bare


def _answers_to(access: Access, host: str) -> bool:
    name = _name_of(host)
    if not name or access.names is None or name in access.names | access.proxies:
        return bool(name)
    return access.any_address and _is_address(name)


def _is_own(access: Access, origin: str, host: str) -> bool:
    scheme, _, rest = origin.partition("://")
    return scheme in ("http", "https") and (rest == host or _name_of(rest) in access.proxies)


def _name_of(host: str) -> str:
    """The host without its port, `[::1]:80` -> `::1`; "" where it is malformed."""
    match = HOST.fullmatch(host)
    return (match[1] or match[2]).lower() if match else ""


def _is_address(name: str) -> bool:
    with suppress(ValueError):
        return bool(ipaddress.ip_address(name))
    return False


def _header(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _is_among(secret: str, digests: Iterable[str]) -> bool:
    own = _digest(secret).encode()
    return any(hmac.compare_digest(digest.encode(), own) for digest in digests)


def _query_token(scope: Scope) -> list[str]:
    query = scope["query_string"].decode("latin-1")
    return parse_qs(query).get("token", [])[:1] if query.count("&") < 20 else []


def _cookies(policy: Policy, scope: Scope) -> list[str]:
    """Not by http.cookies, which takes 30 s for 60 KB of backslashes (CVE-2024-7592)."""
    parts = [part for value in _header(scope, b"cookie") for part in value.split(";")]
    pairs = (part.partition("=") for part in parts if policy.cookie)
    values = [value.strip(' "') for name, _, value in pairs if name.strip() == policy.cookie]
    return [value.encode("ascii", "replace").decode() for value in values]


def _digest(secret: str) -> str:
    """What is compared and kept as a cookie: of one length for every secret."""
    return hashlib.sha256(b"pillsnap " + secret.encode("utf-8", "replace")).hexdigest()
