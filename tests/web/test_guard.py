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
from pillsnap.service.app import POLICY as SERVICE
from pillsnap.web.guard import HEADERS, Access, Guard, Policy, access_for

SECRET = "a-secret-of-some-length"
ORIGIN = "http://localhost:8888"
KEY = {"x-api-key": SECRET}
POLICIES = pytest.mark.parametrize("policy", [MONITOR, SERVICE], ids=["monitor", "service"])
HOSTS = (
    "evil.example", "localhost.evil.example:8888", "127.0.0.1.evil.example", "192.168.0.7:8888",
    "localhost:8888@evil.example", "localhost:port", "[::1", "",
)  # fmt: skip
ORIGINS = (
    "http://evil.example", "null", "http://localhost:9999", "http://localhost:8888.evil.example",
    "file://",
)  # fmt: skip
BEARERS = (
    "Bearer wrong",
    f"Basic {SECRET}",
    "Bearer ",
    f"Bearer {SECRET}x",
    f"Bearer {SECRET[1:]}",
)
COOKIES = (
    "pillsnap_monitor=wrong", f"pillsnap_monitor={SECRET}", 'pillsnap_monitor="', "a; ;=;==",
    'pillsnap_monitor="' + r"\"" * 200_000 + '"',  # minutes by http.cookies
)  # fmt: skip
PROXIED = (
    {"host": "pills.example.org"},
    {"host": "pills.example.org", "origin": "https://pills.example.org"},
    {"host": "127.0.0.1:8080", "origin": "https://pills.example.org"},  # nginx's default Host
    {"host": "127.0.0.1:8080", "origin": "http://PILLS.example.org:8443"},
    {"host": "jupyter:8888", "origin": "http://jupyter:8888"},
    {"host": "[2001:db8::1]:80"},
)
CASES: list[tuple[str, dict[str, str], int]] = [
    *(("local", {"host": host}, 400) for host in HOSTS),
    *(("local", {"origin": origin}, 403) for origin in ORIGINS),
    ("local", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
    ("local", {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}, 403),
    ("local", {"sec-fetch-site": "same-origin", "host": "evil.example"}, 400),
    ("local", {"origin": ORIGIN}, 200),
    ("local", {"host": "127.0.0.1:9999", "origin": "http://127.0.0.1:9999"}, 200),  # a tunnel
    ("local", {"host": "[::1]:8888"}, 200),
    ("local", {"host": "LOCALHOST"}, 200),
    ("local", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),  # a link
    ("local", {"sec-fetch-site": "same-origin", "origin": "http://localhost:7"}, 200),  # a proxy's
    ("network", {}, 401),
    *(("network", {"authorization": value}, 401) for value in BEARERS),
    *(("network", {"x-api-key": value}, 401) for value in (SECRET[1:], "%e9")),
    *(("network", {"cookie": value}, 401) for value in COOKIES),
    ("network", {"authorization": f"bearer {SECRET}"}, 200),
    *(("network", {**KEY, "host": host}, 200) for host in ("192.168.0.7:8888", "[fe80::1]:8888")),
    ("network", {**KEY, "host": f"{os.uname().nodename}:8888"}, 200),
    *(("proxies", {**KEY, **headers}, 200) for headers in PROXIED),
    ("proxies", {**KEY, **PROXIED[0], "origin": "http://evil.pills.example.org"}, 403),
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


def accesses(policy: Policy, kind: str) -> list[Access]:
    names = ("Pills.example.org", "jupyter", "2001:db8::1") if kind == "proxies" else ()
    local = [access_for(policy, "127.0.0.1", None, names)] if kind != "network" else []
    return local + ([access_for(policy, "0.0.0.0", SECRET, names)] if kind != "local" else [])


def network(policy: Policy) -> TestClient:
    return client(policy, *accesses(policy, "network"))


def socket_status(web: TestClient, headers: dict[str, str]) -> int:
    """200 where the socket opens, else the status of its refusal."""
    try:
        with web.websocket_connect("ws://localhost:8888/ws", headers=headers) as websocket:
            assert websocket.receive_text() == "hello"
    except WebSocketDenialResponse as refused:
        return refused.status_code
    return 200


@POLICIES
@pytest.mark.parametrize(("kind", "headers", "status"), CASES)
def test_requests_and_sockets_are_answered_and_refused_alike(policy, kind, headers, status) -> None:
    for access in accesses(policy, kind):
        web = client(policy, access)
        assert web.get("/data", headers=headers).status_code == status
        assert socket_status(web, headers) == status


def test_a_token_in_the_address_opens_the_monitor_and_leaves_a_cookie() -> None:
    web = network(MONITOR)
    for path in ("/data", "/healthz", "/nothing"):
        for token in (f"{SECRET}x", "", "x", SECRET[:-1]):
            assert "set-cookie" not in web.get(path, params={"token": token}).headers
    cookie = web.get("/data", params={"token": SECRET}).headers["set-cookie"]
    assert SECRET not in cookie
    assert "HttpOnly; SameSite=Strict" in cookie
    assert web.get("/data").status_code == 200
    assert socket_status(web, {}) == 200


@pytest.mark.parametrize(("policy", "statuses"), [(MONITOR, [401, 400]), (SERVICE, [200, 200])])
def test_the_page_without_a_secret_and_another_name_in_the_network(policy, statuses) -> None:
    web, sent = network(policy), {**KEY, "host": "evil.example"}
    assert [web.get("/").status_code, web.get("/data", headers=sent).status_code] == statuses


def test_the_data_of_the_service_needs_a_key_outside_the_address() -> None:
    assert network(SERVICE).get("/data", params={"token": SECRET}).status_code == 401


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
def test_health_is_answered_to_anyone_and_every_answer_has_the_security_headers(policy) -> None:
    web = network(policy)
    for headers in ({"host": "evil.example"}, {"host": ""}, {"origin": "null"}, {}):
        assert web.get("/healthz", headers=headers).json() == {"ok": True}
        assert web.head("/healthz", headers=headers).status_code == 200
        assert web.post("/healthz", headers=headers).status_code == 405
    for path, status in (("/healthz", 200), ("/data", 401), ("/nothing", 401)):
        answer = web.get(path)
        assert answer.status_code == status
        assert dict(answer.headers).items() >= HEADERS.items()
        assert "default-src 'self'; img-src 'self' blob:" in HEADERS["content-security-policy"]


@POLICIES
def test_the_network_needs_a_secret_and_the_cure_makes_one(policy: Policy) -> None:
    for host in ("127.0.0.1", "localhost", "::1"):
        assert access_for(policy, host, None, ()) == Access()
    for host, given, words in (
        *((host, None, "opens the") for host in ("0.0.0.0", "192.168.0.7", "box", "::", "")),
        ("0.0.0.0", "abc", "3 characters"),
    ):
        with pytest.raises(UserError, match=words) as refused:
            access_for(policy, host, given, ())
    command = f'{refused.value.cure.splitlines()[0]}; printf %s "${policy.variable}"'
    secret = subprocess.run(["bash", "-c", command], capture_output=True, text=True).stdout
    assert access_for(policy, host, secret, ()).secret == secret
