"""An application below /pills/, as behind a proxy that strips the prefix, such as nginx with
`location /pills/ { proxy_pass http://127.0.0.1:PORT/; }`."""

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

PREFIX = "/pills/"


def below(app: ASGIApp, websockets: bool) -> ASGIApp:
    """`app` below PREFIX; nginx passes WebSockets only when configured."""

    async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", PREFIX)
        if not path.startswith(PREFIX):
            await Response(status_code=404)(scope, receive, send)
        elif scope["type"] == "websocket" and not websockets:
            await send({"type": "websocket.close"})
        else:
            await app({**scope, "path": f"/{path.removeprefix(PREFIX)}"}, receive, send)

    return proxy
