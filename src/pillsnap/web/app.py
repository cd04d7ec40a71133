"""An application behind the guard: its routes, a page, /healthz, and one task in the background.

The page is index.html at /, its files are under /page/. It asks for relative addresses only, so
that a proxy can serve it under a prefix, such as /pills/ or /proxy/8888/.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from pillsnap.web.guard import HEALTH, PAGE, Access, Guard, Policy

Task = Callable[[], Coroutine[Any, Any, None]]


def application(
    routes: Sequence[BaseRoute],
    page: Path,
    policy: Policy,
    access: Access,
    forever: Task,
    first: Task | None = None,
    **options: Any,
) -> Starlette:
    """Starlette with `options`; `first` is awaited at the start, `forever` cancelled at the end."""

    @asynccontextmanager
    async def running(app: Starlette) -> AsyncIterator[None]:
        if first:
            await first()
        task = asyncio.create_task(forever())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def index(request: Request) -> FileResponse:
        return FileResponse(page / "index.html")

    async def health(request: Request) -> JSONResponse:
        return JSONResponse({"ok": True})

    files = Mount(PAGE, StaticFiles(directory=page))
    every = [*routes, Route(HEALTH, health), Route("/", index), files]
    guard = [Middleware(Guard, policy=policy, access=access)]
    app = Starlette(routes=every, middleware=guard, lifespan=running, **options)
    app.router.redirect_slashes = False  # behind a prefix its absolute address is wrong
    return app
