"""Which requests both servers answer and which they refuse."""

import os
import subprocess

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket

from pillsnap.errors import UserError
from pillsnap.monitor.policy import POLICY as MONITOR
from pillsnap.service.policy import POLICY as SERVICE
from pillsnap.web.guard import Access, Guard, Policy, access_for

SECRET = "a-secret-of-some-length"
ORIGIN = "http://localhost:8888"
SOCKET = "ws://localhost:8888/ws"
POLICIES = pytest.mark.parametrize("policy", [MONITOR, SERVICE], ids=["monitor", "service"])
HOSTS = (
    "evil.example", "localhost.evil.example:8888", "127.0.0.1.evil.example", "192.168.0.7:8888",
    "localhost:8888@evil.example", "localhost:port", "[::1", "",
)  # fmt: skip
ORIGINS = (
    "http://evil.example", "null", "http://localhost:9999", "http://localhost:8888.evil.example",
    "file://",
)  # fmt: skip
REFUSED: list[tuple[dict[str, str], int]] = [
    *(({"host": host}, 400) for host in HOSTS),
    *(({"origin": origin}, 403) for origin in ORIGINS),
    ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
    ({"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}, 403),
    ({"sec-fetch-site": "same-origin", "host": "evil.example"}, 400),
]
ANSWERED: list[dict[str, str]] = [
    {"origin": ORIGIN},
    {"host": "127.0.0.1:9999", "origin": "http://127.0.0.1:9999"},  # a tunnel
    {"host": "[::1]:8888"},
    {"host": "LOCALHOST"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},  # a link
    {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"},
    {"sec-fetch-site": "same-origin", "origin": "http://localhost:7000"},  # a proxy's page
]
BEARERS = (
    "Bearer wrong",
    f"Basic {SECRET}",
    "Bearer ",
    f"Bearer {SECRET}x",
    f"Bearer {SECRET[:-1]}",
)
COOKIES = (
    "pillsnap_monitor=wrong", f"pillsnap_monitor={SECRET}", 'pillsnap_monitor="', "a; ;=;==",
    'pillsnap_monitor="' + r"\"" * 200_000 + '"',  # minutes by http.cookies
)  # fmt: skip
WRONG: list[dict[str, str]] = [
    {},
    *({"authorization": value} for value in BEARERS),
    *({"x-api-key": value} for value in (SECRET[1:], "%e9")),
    *({"cookie": value} for value in COOKIES),
]


def client(policy: Policy, access: Access) -> TestClient:
    async def ok(request: Request) -> JSONResponse:
        return JSONResponse({"ok": True})

    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("hello")

    routes = [
        *(Route(path, ok) for path in ("/", "/data", "/healthz")),
        WebSocketRoute("/ws", socket),
    ]
    middleware = [Middleware(Guard, policy=policy, access=access)]
    return TestClient(Starlette(routes=routes, middleware=middleware), base_url=ORIGIN)


def network(policy: Policy, *proxies: str) -> Access:
    return access_for(policy, "0.0.0.0", SECRET, proxies)


def socket_status(web: TestClient, headers: dict[str, str]) -> int:
    """101 where the socket opens, else the status of its refusal."""
    try:
        with web.websocket_connect(SOCKET, headers=headers) as websocket:
            assert websocket.receive_text() == "hello"
    except WebSocketDenialResponse as refused:
        return refused.status_code
    return 101


@POLICIES
@pytest.mark.parametrize(("headers", "status"), REFUSED)
def test_a_foreign_host_or_origin_is_refused(
    policy: Policy, headers: dict[str, str], status: int
) -> None:
    web = client(policy, Access())
    assert web.get("/data", headers=headers).status_code == status
    assert socket_status(web, headers) == status


OPEN = [
    *((headers, False) for headers in ANSWERED),
    ({"authorization": f"bearer {SECRET}"}, True),
    ({"x-api-key": SECRET}, True),
]


@POLICIES
@pytest.mark.parametrize(("headers", "guarded"), OPEN)
def test_own_pages_links_tunnels_and_the_secret_are_answered(
    policy: Policy, headers: dict[str, str], guarded: bool
) -> None:
    web = client(policy, network(policy) if guarded else Access())
    assert web.get("/data", headers=headers).status_code == 200
    assert socket_status(web, headers) == 101


@POLICIES
@pytest.mark.parametrize("headers", WRONG)
def test_without_the_secret_nothing_is_answered(policy: Policy, headers: dict[str, str]) -> None:
    web = client(policy, network(policy))
    assert web.get("/data", headers=headers).status_code == 401
    assert socket_status(web, headers) == 401


def test_a_token_in_the_address_opens_the_monitor_and_leaves_a_cookie() -> None:
    web = client(MONITOR, network(MONITOR))
    cookie = web.get("/data", params={"token": SECRET}).headers["set-cookie"]
    assert SECRET not in cookie
    assert "HttpOnly; SameSite=Strict" in cookie
    assert web.get("/data").status_code == 200
    assert socket_status(web, {}) == 101


@pytest.mark.parametrize("path", ["/data", "/healthz", "/nothing"])
@pytest.mark.parametrize("token", [f"{SECRET}x", "", "x", SECRET[:-1]])
def test_a_wrong_token_leaves_no_cookie(path: str, token: str) -> None:
    answer = client(MONITOR, network(MONITOR)).get(path, params={"token": token})
    assert "set-cookie" not in answer.headers


def test_the_page_of_the_service_needs_no_key_and_its_data_none_in_the_address() -> None:
    web = client(SERVICE, network(SERVICE))
    statuses = [client(p, network(p)).get("/").status_code for p in (SERVICE, MONITOR)]
    assert [*statuses, web.get("/data", params={"token": SECRET}).status_code] == [200, 401, 401]


@pytest.mark.parametrize(
    ("policy", "expected"), [(MONITOR, [200, 200, 200, 400]), (SERVICE, [200, 200, 200, 200])]
)
def test_hosts_answered_in_the_network(policy: Policy, expected: list[int]) -> None:
    web, own = client(policy, network(policy)), os.uname().nodename
    hosts = (f"{own}:8888", "192.168.0.7:8888", "[fe80::1]:8888", "evil.example")
    sent = [{"x-api-key": SECRET, "host": host} for host in hosts]
    assert [web.get("/data", headers=headers).status_code for headers in sent] == expected


@POLICIES
@pytest.mark.parametrize(
    "headers",
    [
        {"host": "pills.example.org"},
        {"host": "pills.example.org", "origin": "https://pills.example.org"},
        {"host": "127.0.0.1:8080", "origin": "https://pills.example.org"},  # nginx's default Host
        {"host": "127.0.0.1:8080", "origin": "http://PILLS.example.org:8443"},
        {"host": "jupyter:8888", "origin": "http://jupyter:8888"},
        {"host": "[2001:db8::1]:80"},
    ],
)
def test_an_allowed_proxy_may_pass_its_own_name(policy: Policy, headers: dict[str, str]) -> None:
    names = ("Pills.example.org", "jupyter", "2001:db8::1")
    for access in (access_for(policy, "127.0.0.1", None, names), network(policy, *names)):
        web = client(policy, access)
        sent = {**headers, "x-api-key": SECRET}
        assert web.get("/data", headers=sent).status_code == 200
        assert socket_status(web, sent) == 101
        evil = {**sent, "origin": "http://evil.pills.example.org"}
        assert web.get("/data", headers=evil).status_code == 403


@POLICIES
@pytest.mark.parametrize(
    "name", ["http://pills.example.org", "pills.example.org:80", "*", "", "a/b", "[::1]:80", "a b"]
)
def test_an_allowed_host_is_a_bare_name(policy: Policy, name: str) -> None:
    with pytest.raises(UserError, match="--allow-host") as refused:
        access_for(policy, "127.0.0.1", None, [name])
    cure = refused.value.cure.split("--allow-host ")[1]
    assert access_for(policy, "127.0.0.1", None, [cure]).proxies == {cure}


@POLICIES
@pytest.mark.parametrize(
    "headers", [{"host": "evil.example"}, {"host": ""}, {"origin": "null"}, {}]
)
def test_health_is_answered_to_anyone(policy: Policy, headers: dict[str, str]) -> None:
    web = client(policy, network(policy))
    assert web.get("/healthz", headers=headers).json() == {"ok": True}
    assert web.head("/healthz", headers=headers).status_code == 200
    assert web.post("/healthz", headers=headers).status_code == 405


@POLICIES
def test_every_answer_carries_the_security_headers(policy: Policy) -> None:
    web = client(policy, network(policy))
    for path, status in (("/healthz", 200), ("/data", 401), ("/nothing", 401)):
        answer = web.get(path)
        assert answer.status_code == status
        assert answer.headers["content-security-policy"].startswith(
            "default-src 'self'; img-src 'self' blob:"
        )
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


@POLICIES
def test_loopback_needs_no_secret(policy: Policy) -> None:
    for host in ("127.0.0.1", "localhost", "::1"):
        assert access_for(policy, host, None, ()) == Access()


def secret_of(cure: str, variable: str) -> str:
    """What the shell has in the variable after the command of a cure."""
    command = f'{cure.splitlines()[0]}; printf %s "${variable}"'
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True).stdout


@POLICIES
@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.7", "box", "::", ""])
def test_the_network_needs_a_secret_and_the_cure_makes_one(policy: Policy, host: str) -> None:
    with pytest.raises(UserError, match="opens the") as refused:
        access_for(policy, host, None, ())
    secret = secret_of(refused.value.cure, policy.variable)
    assert access_for(policy, host, secret, ()).secret == secret
    with pytest.raises(UserError, match="3 characters") as refused:
        access_for(policy, host, "abc", ())
    assert access_for(policy, host, secret_of(refused.value.cure, policy.variable), ())
