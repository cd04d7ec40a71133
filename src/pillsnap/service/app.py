"""The HTTP application: POST /v1/recognise and what stands around it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from pillsnap.errors import UserError
from pillsnap.prediction import pictures
from pillsnap.prediction.load import Loaded
from pillsnap.service import bodies, openapi, requests
from pillsnap.service.batching import Batcher
from pillsnap.service.counters import MEDIA_TYPE, Figures
from pillsnap.service.door import Access, Door
from pillsnap.service.requests import Limits

PAGE_DIR = Path(__file__).parent / "page"
PAGE_FILES = {
    "/": ("index.html", "text/html"),
    "/service.js": ("service.js", "text/javascript"),
    "/service.css": ("service.css", "text/css"),
}
CLIENT_GONE = 499  # nginx' word for it: nobody reads the answer


@dataclass(frozen=True)
class ServiceOptions:
    """How much the service takes at once."""

    batch_size: int  # pictures through the models together
    queue: int  # requests held at once; more are answered 429
    limits: Limits


class Service:
    """The state behind the routes."""

    def __init__(self, loaded: Loaded, options: ServiceOptions) -> None:
        self.loaded, self.options = loaded, options
        self.figures = Figures()
        self.batcher = Batcher(loaded, options.batch_size, self.figures)
        self._decoding = asyncio.Semaphore(2 * options.batch_size)  # bounds pixels in memory

    async def recognise(self, request: Request) -> Response:
        """Take a request when there is room for it, answer it, count it."""
        figures, begun_s = self.figures, time.perf_counter()
        if figures.in_flight >= self.options.queue:
            response = bodies.problem(
                429, "The service is busy.", "Ask again in a second.", **{"Retry-After": "1"}
            )
        else:
            figures.in_flight += 1
            try:
                response = await self._answer(request)
            except HTTPException as error:
                response = bodies.problem(error.status_code, str(error.detail))
            except ClientDisconnect:
                response = Response(status_code=CLIENT_GONE)
            finally:
                figures.in_flight -= 1
        figures.request(response.status_code, time.perf_counter() - begun_s)
        return response

    async def _answer(self, request: Request) -> Response:
        asked = await requests.read(request, self.options.limits)
        strange = sorted(
            set(asked.codes or ()) - set(self.loaded.recogniser.classes["mapping_code"])
        )
        if strange:
            return bodies.problem(
                400, f"Codes that were never learnt: {', '.join(strange[:10])}.", "GET /v1/model"
            )
        found = await asyncio.gather(
            *(
                self._picture(name, content, asked.top, asked.codes)
                for name, content in asked.pictures
            )
        )
        errors = [error for _, error in found if error is not None]
        status = bodies.status_of(errors[0]) if len(errors) == len(found) else 200
        return bodies.json({"images": [tree for tree, _ in found]}, status)

    async def _picture(
        self, name: str, content: bytes, top: int, codes: tuple[str, ...] | None
    ) -> tuple[dict[str, Any], UserError | None]:
        async with self._decoding:
            try:
                frame = await asyncio.to_thread(
                    pictures.decode, content, name, self.loaded.max_pixels
                )
            except UserError as error:
                self.figures.refused()
                return bodies.refused(name, error), error
            pills = await self.batcher.recognise(frame, top, codes)
        self.figures.picture(len(pills), sum(not pill.known for pill in pills))
        return bodies.recognised(name, frame.shape[1], frame.shape[0], pills), None

    def model(self) -> dict[str, Any]:
        """What answers: models, thresholds, classes."""
        recogniser = self.loaded.recogniser
        fitted, classes = recogniser.calibration, recogniser.classes
        rows = classes[["mapping_code", "drug_name", "edi_codes"]].itertuples(index=False)
        return {
            "scale": self.loaded.scale,
            "backend": self.loaded.backend,
            "detector": recogniser.detector.config.get("architecture"),
            "classifier": recogniser.classifier.config.get("architecture"),
            "class_table_hash": fitted.class_table_hash,
            "detection_confidence": fitted.detection_confidence,
            "refusal": {"score": fitted.score, "threshold": fitted.threshold},
            "enrolled": self.loaded.enrolled,
            "classes": [
                {"code": code, "drug_name": name, "edi_codes": list(filter(None, edi.split("|")))}
                for code, name, edi in rows
            ],
        }


def create_app(loaded: Loaded, access: Access, options: ServiceOptions) -> Starlette:
    """The application; the models run while its lifespan does."""
    service = Service(loaded, options)
    description = openapi.describe(options.limits)

    @asynccontextmanager
    async def running(app: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(service.batcher.forever())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def metrics(request: Request) -> Response:
        return Response(service.figures.text(), media_type=MEDIA_TYPE)

    return Starlette(
        routes=[
            *(_fixed(path, (PAGE_DIR / name).read_bytes(), kind)
              for path, (name, kind) in PAGE_FILES.items()),
            Route("/v1/recognise", service.recognise, methods=["POST"]),
            Route("/v1/model", _told(service.model)),
            Route("/healthz", _told(lambda: {"ok": True})),
            Route("/openapi.json", _told(lambda: description)),
            Route("/metrics", metrics),
        ],
        middleware=[Middleware(Door, access=access)],
        exception_handlers={HTTPException: _http_problem, Exception: _own_problem},
        lifespan=running,
    )  # fmt: skip


def _told(what: Callable[[], dict[str, Any]]) -> Callable[[Request], Any]:
    async def tell(request: Request) -> Response:
        return bodies.json(what())

    return tell


def _fixed(path: str, content: bytes, media_type: str) -> Route:
    async def page(request: Request) -> Response:
        return Response(content, media_type=media_type)

    return Route(path, page, name=path)


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return bodies.problem(error.status_code, str(error.detail))


async def _own_problem(request: Request, error: Exception) -> Response:
    return bodies.problem(500, "The service failed on this request.", "Look into its log.")
