"""The monitor's access policy: read-only; beyond this machine a token, kept in a cookie."""

from starlette.responses import PlainTextResponse, Response

from pillsnap.web.guard import Policy


def _refuse(status: int, reason: str) -> Response:
    return PlainTextResponse(reason, status, {"allow": "GET"} if status == 405 else None)


POLICY = Policy(
    server="monitor",
    variable="PILLSNAP_MONITOR_TOKEN",
    hint="and open the page once as http://HOST:PORT/?token=..., or keep 127.0.0.1 and use\n"
    "  ssh -L 8888:localhost:8888 THIS_MACHINE",
    credentials="A token is needed: open /?token=... once, or send Authorization: Bearer <token>.",
    refuse=_refuse,
    methods=frozenset({"GET"}),
    cookie="pillsnap_monitor",
)
