"""The web server: one page, the state as JSON, and a WebSocket that sends what changed."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from socket import socket as Socket

import orjson
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute

from pillsnap.monitor import origins, view
from pillsnap.monitor.events import EventReader
from pillsnap.monitor.hub import Hub
from pillsnap.monitor.policy import POLICY
from pillsnap.monitor.state import State, fold
from pillsnap.monitor.summaries import SHOWN, ArtifactFiles
from pillsnap.monitor.viewers import ViewerProtocol, Viewers
from pillsnap.web import page
from pillsnap.web import server as web
from pillsnap.web.guard import HEALTH, Access, Guard

PAGE_DIR = Path(__file__).parent / "page"
POLL_S = 1.0
SIZE_CHECKS = 10  # of the file, between two looks
CHUNKS_A_POLL = 64
SHUTDOWN_S = 2  # for requests in progress at SIGTERM


class Watch:
    """Follows the files of one artifacts/<scale>/ folder and publishes what they hold."""

    def __init__(self, artifacts_dir: Path) -> None:
        self.hub = Hub()
        self.scale = artifacts_dir.name
        self._reader = EventReader(artifacts_dir / "live" / "events.jsonl")
        self._files = ArtifactFiles(artifacts_dir)
        self._state = State()

    async def look(self) -> None:
        """Read what is new, in pieces so that requests are answered meanwhile, and publish it."""
        problem = ""
        try:
            for _ in range(CHUNKS_A_POLL):
                batch = self._reader.read()
                self._state = fold(State() if batch.restarted else self._state, batch.events)
                if not batch.more:
                    break
                await asyncio.sleep(0)
        except OSError as error:
            problem = str(error)
        await asyncio.to_thread(self._files.refresh)  # checkpoints are large
        source = view.source(self._reader.path, self._state, self._reader.skipped, problem)
        files = {name: self._files.contents[name] for name in SHOWN}
        self.hub.publish(
            {
                **view.of(self._state, time.time()),
                "files": files,
                "origins": origins.of(self._state, self._files),
                "source": {"scale": self.scale, **source},
            }
        )

    async def forever(self, poll_s: float) -> None:
        """Look again every `poll_s` seconds, sooner where events follow a quiet look."""
        while True:
            before = self.hub.seq
            await self.look()
            quiet, size = self.hub.seq == before, self._reader.size()
            for _ in range(SIZE_CHECKS):
                await asyncio.sleep(poll_s / SIZE_CHECKS)
                if quiet and self._reader.size() != size:
                    break


def create_app(artifacts_dir: Path, access: Access, poll_s: float = POLL_S) -> Starlette:
    """The whole application; it only ever reads files under `artifacts_dir`."""
    watch = Watch(artifacts_dir)
    viewers = Viewers(watch.hub, poll_s)

    @asynccontextmanager
    async def watching(app: Starlette) -> AsyncIterator[None]:
        await watch.look()
        task = asyncio.create_task(watch.forever(poll_s))
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def state(request: Request) -> Response:
        head = {"seq": watch.hub.seq, "now": time.time(), "viewers": viewers.count}
        return _json({**head, **watch.hub.state})

    async def health(request: Request) -> Response:
        return _json({"ok": True})

    app = Starlette(
        routes=[
            Route("/api/state", state),
            Route(HEALTH, health),
            WebSocketRoute("/ws", viewers.serve),
            *page.routes(PAGE_DIR),
        ],
        middleware=[Middleware(Guard, policy=POLICY, access=access)],
        lifespan=watching,
    )
    app.router.redirect_slashes = False  # behind a prefix its absolute address is wrong
    return app


def serve(app: Starlette, listener: Socket) -> None:
    """Answer on a listening socket until SIGINT or SIGTERM."""
    server(app).run(sockets=[listener])


def server(app: Starlette) -> web.Server:
    """The server, not yet running."""
    return web.server(app, SHUTDOWN_S, ViewerProtocol)


def _json(value: view.Json) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
