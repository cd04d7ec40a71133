"""The web server: one page, the state as JSON, and a WebSocket that tells changes once a second."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from socket import socket as Socket

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from pillsnap.monitor import view
from pillsnap.monitor.events import EventReader
from pillsnap.monitor.guard import Access, Guard
from pillsnap.monitor.hub import Hub
from pillsnap.monitor.state import State, fold
from pillsnap.monitor.summaries import ArtifactFiles

PAGE_DIR = Path(__file__).parent / "page"
PAGE_FILES = {
    "/": ("index.html", "text/html"),
    "/monitor.css": ("monitor.css", "text/css"),
    "/main.js": ("main.js", "text/javascript"),
    "/link.js": ("link.js", "text/javascript"),
    "/words.js": ("words.js", "text/javascript"),
    "/charts.js": ("charts.js", "text/javascript"),
    "/panels.js": ("panels.js", "text/javascript"),
    "/trainings.js": ("trainings.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/uplot.min.js": ("uplot.min.js", "text/javascript"),
    "/uplot.min.css": ("uplot.min.css", "text/css"),
    "/uplot-licence.txt": ("uplot-licence.txt", "text/plain"),
}
POLL_S = 1.0
GLANCES = 10  # at the size of the file, between two looks
TICK_S = 15.0  # a client that hears nothing for three of these calls again
MOST_CLIENTS = 256
CHUNKS_A_POLL = 64
LARGEST_REQUEST_BYTES = 1024  # nothing a client says over the socket matters


class Watch:
    """Follows the files of one artifacts/<scale>/ folder and publishes what they say."""

    def __init__(self, artifacts_dir: Path) -> None:
        self.hub = Hub()
        self.scale = artifacts_dir.name
        self._reader = EventReader(artifacts_dir / "live" / "events.jsonl")
        self._files = ArtifactFiles(artifacts_dir)
        self._state = State()
        self.num_clients = 0

    async def look(self) -> None:
        """Read what is new, in pieces so that requests are answered meanwhile, and publish it."""
        problem = ""
        try:
            for _ in range(CHUNKS_A_POLL):
                batch = self._reader.read()
                if batch.restarted:
                    self._state = State()
                    self.hub.restart()
                self._state = fold(self._state, batch.events)
                if not batch.more:
                    break
                await asyncio.sleep(0)
        except OSError as error:
            problem = str(error)
        self._files.refresh()
        self._publish(problem)

    def _publish(self, problem: str) -> None:
        state = self._state
        source = view.source(self._reader.path, state, self._reader.skipped, problem)
        sections = {
            **view.sections(state, time.time()),
            "files": dict(self._files.contents),
            "source": {"scale": self.scale, **source},
        }
        history = [list(row) for row in state.samples]
        self.hub.publish(
            sections, view.logs(state.logs), state.num_logs, history, state.num_samples
        )

    async def forever(self, poll_s: float) -> None:
        """Look again every `poll_s` seconds, sooner where events follow a quiet look."""
        while True:
            told = self.hub.seq
            await self.look()
            quiet, size = self.hub.seq == told, self._reader.size()
            for _ in range(GLANCES):
                await asyncio.sleep(poll_s / GLANCES)
                if quiet and self._reader.size() != size:
                    break


def create_app(artifacts_dir: Path, access: Access, poll_s: float = POLL_S) -> Starlette:
    """The whole application; it only ever reads files under `artifacts_dir`."""
    watch = Watch(artifacts_dir)

    @asynccontextmanager
    async def watching(app: Starlette) -> AsyncIterator[None]:
        await watch.look()
        task = asyncio.create_task(watch.forever(poll_s))
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def state(request: Request) -> Response:
        hub = watch.hub
        head = {"seq": hub.seq, "generation": hub.generation, "now": time.time()}
        return _json({**head, **hub.state()})

    async def health(request: Request) -> Response:
        return _json({"ok": True, "seq": watch.hub.seq, "clients": watch.num_clients})

    async def socket(websocket: WebSocket) -> None:
        await _serve_client(watch, websocket, poll_s)

    app = Starlette(
        routes=[
            *(_page_route(path, *file) for path, file in PAGE_FILES.items()),
            Route("/api/state", state),
            Route("/healthz", health),
            WebSocketRoute("/ws", socket),
        ],
        middleware=[Middleware(Guard, access=access)],
        lifespan=watching,
    )
    app.router.redirect_slashes = False
    return app


def serve(app: Starlette, listener: Socket) -> None:
    """Answer on a listening socket until SIGINT or SIGTERM."""
    server(app).run(sockets=[listener])


def server(app: Starlette) -> uvicorn.Server:
    """The uvicorn server: no access log, for an address may carry the token."""
    config = uvicorn.Config(
        app,
        http="h11",
        ws="websockets-sansio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws_max_size=LARGEST_REQUEST_BYTES,
        ws_per_message_deflate=False,  # 300 KB of compressor a client, for text that is short
        timeout_graceful_shutdown=2,
        limit_concurrency=2 * MOST_CLIENTS,
    )
    return uvicorn.Server(config)


def _page_route(path: str, name: str, media_type: str) -> Route:
    content = (PAGE_DIR / name).read_bytes()

    async def page(request: Request) -> Response:
        return Response(content, media_type=media_type)

    return Route(path, page, name=name)


def _json(value: view.Json) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")


async def _serve_client(watch: Watch, websocket: WebSocket, poll_s: float) -> None:
    await websocket.accept()
    if watch.num_clients >= MOST_CLIENTS:
        await websocket.close(1013, "too many viewers")
        return
    watch.num_clients += 1
    telling = asyncio.create_task(_tell(watch.hub, websocket, poll_s))
    try:
        while (await websocket.receive())["type"] != "websocket.disconnect":
            pass
    finally:
        watch.num_clients -= 1
        telling.cancel()
        with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
            await telling


async def _tell(hub: Hub, websocket: WebSocket, poll_s: float) -> None:
    since, generation = _known(websocket, hub)
    while True:
        if generation == hub.generation and not await hub.wait_past(since, TICK_S):
            tick = {"type": "tick", "seq": hub.seq, "generation": generation, "now": time.time()}
            await websocket.send_text(orjson.dumps(tick).decode())
            continue
        text = hub.message(since, generation, time.time()).decode()
        since, generation = hub.seq, hub.generation
        await websocket.send_text(text)
        await asyncio.sleep(poll_s)


def _known(websocket: WebSocket, hub: Hub) -> tuple[int, str]:
    since = websocket.query_params.get("since", "")
    known = int(since) if since.isascii() and since.isdigit() and len(since) < 16 else hub.seq + 1
    if known > hub.seq:
        return 0, ""  # nothing, or nothing of ours: it gets everything
    return known, websocket.query_params.get("generation", "")
