"""A page: index.html at /, its files under /page/; it asks for relative addresses only.

So a proxy can serve it under a prefix, such as /pills/ or /proxy/8888/.
"""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

FILES = "/page"


def routes(folder: Path) -> list[BaseRoute]:
    """The routes of the page in `folder`."""

    async def index(request: Request) -> FileResponse:
        return FileResponse(folder / "index.html")

    return [Route("/", index), Mount(FILES, StaticFiles(directory=folder))]
