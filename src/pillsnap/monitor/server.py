"""The web server: one page, the state as JSON, and a WebSocket that sends what changed."""

import asyncio
import time
from functools import partial
from pathlib import Path

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route, WebSocketRoute

from pillsnap.monitor import view
from pillsnap.monitor.folder import RunFolder
from pillsnap.monitor.policy import POLICY
from pillsnap.monitor.viewers import Hub, ViewerProtocol, Viewers
from pillsnap.web import server as web
from pillsnap.web.app import application
from pillsnap.web.guard import Access

PAGE_DIR = Path(__file__).parent / "page"
# Reports hold their styles, scripts and pictures; sandboxed, they cannot reach the monitor.
REPORT_POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; frame-ancestors 'none'; sandbox allow-scripts allow-downloads"
)
POLL_S = 1.0
SIZE_CHECKS = 10  # of the file, between two looks
CHUNKS_A_POLL = 64
SHUTDOWN_S = 2  # for requests in progress at SIGTERM


class Watch:
    """Follows the files of one artifacts/<scale>/ folder and publishes what they hold."""

    def __init__(self, artifacts_dir: Path) -> None:
        self.hub = Hub()
        self.folder = RunFolder(artifacts_dir)

    async def look(self) -> None:
        """Read what is new, in pieces so that requests are answered meanwhile, and publish it."""
        problem, chunks = "", 0
        try:
            while self.folder.read() and chunks < CHUNKS_A_POLL:
                chunks += 1
                await asyncio.sleep(0)
        except OSError as error:
            problem = str(error)
        await asyncio.to_thread(self.folder.refresh)  # checkpoints are large
        self.hub.publish(view.of(self.folder, problem, time.time()))

    async def forever(self, poll_s: float) -> None:
        """Look again every `poll_s` seconds, sooner where events follow a quiet look."""
        while True:
            before = self.hub.seq
            await self.look()
            quiet, size = self.hub.seq == before, self.folder.events.size()
            for _ in range(SIZE_CHECKS):
                await asyncio.sleep(poll_s / SIZE_CHECKS)
                if quiet and self.folder.events.size() != size:
                    break


def create_app(artifacts_dir: Path, access: Access, poll_s: float = POLL_S) -> Starlette:
    """The whole application; it only ever reads files under `artifacts_dir`."""
    watch = Watch(artifacts_dir)
    viewers = Viewers(watch.hub, poll_s)

    async def state(request: Request) -> Response:
        head = {"seq": watch.hub.seq, "now": time.time(), "viewers": viewers.count}
        return Response(orjson.dumps(head | watch.hub.state), media_type="application/json")

    async def page(request: Request) -> Response:
        path = watch.folder.pages.get(request.path_params["name"])
        if path is None or not path.is_file():
            return Response("There is no such page yet.", 404, media_type="text/plain")
        return FileResponse(path, headers={"content-security-policy": REPORT_POLICY})

    routes = [
        Route("/api/state", state),
        Route("/artifacts/{name:path}", page),
        WebSocketRoute("/ws", viewers.serve),
    ]
    forever = partial(watch.forever, poll_s)
    return application(routes, PAGE_DIR, POLICY, access, forever, first=watch.look)


def server(app: Starlette) -> web.Server:
    return web.server(app, SHUTDOWN_S, ViewerProtocol)
