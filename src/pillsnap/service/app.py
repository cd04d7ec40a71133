"""The HTTP application: POST /v1/recognise, and the routes about the service itself."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from pillsnap.dataset import pictures
from pillsnap.errors import UserError
from pillsnap.prediction.load import Loaded
from pillsnap.service import bodies, requests
from pillsnap.service.batching import Batcher
from pillsnap.service.bodies import Error, Recognised, Refused, ResponseBody
from pillsnap.service.counters import MEDIA_TYPE, Counters
from pillsnap.service.requests import Asked, Limits
from pillsnap.web.app import application
from pillsnap.web.guard import PAGE, Access, Policy

PAGE_DIR = Path(__file__).parent / "page"
CLIENT_GONE = 499  # as nginx logs it
POLICY = Policy(
    server="service",
    variable="PILLSNAP_API_KEY",
    credentials="A key is needed: Authorization: Bearer <key>, or X-API-Key: <key>.",
    refuse=bodies.problem,
    open_paths=frozenset({"/", PAGE, "/openapi.json"}),
    any_name=True,
)


class Service:
    def __init__(self, loaded: Loaded, limits: Limits) -> None:
        self.loaded, self.limits = loaded, limits
        self.counters = Counters()
        self.batcher = Batcher(loaded, limits.batch_size, self.counters)
        self._decoding = asyncio.Semaphore(2 * limits.batch_size)  # bounds pixels in memory

    async def recognise(self, request: Request) -> Response:
        counters, started_s = self.counters, time.perf_counter()
        if counters.in_flight >= self.limits.queue:
            fact, cure = "The service is busy.", "Try again in a second."
            response = bodies.problem(429, fact, cure, **{"Retry-After": "1"})
        else:
            counters.in_flight += 1
            try:
                response = await self._answer(request)
            except HTTPException as error:
                response = await _problem(request, error)
            except ClientDisconnect:
                response = Response(status_code=CLIENT_GONE)
            finally:
                counters.in_flight -= 1
        counters.request(response.status_code, time.perf_counter() - started_s)
        return response

    async def _answer(self, request: Request) -> Response:
        sent, query = await requests.read(request, self.limits)
        untrained = self.loaded.recogniser.not_classes(query.codes) if query.codes else ""
        if untrained:
            fact = f"The classifier has no class {untrained}."
            return bodies.problem(400, fact, "GET /v1/model lists its classes.")
        found = await asyncio.gather(*(self._picture(*picture, query) for picture in sent))
        errors = [error for _, error in found if error is not None]
        status = bodies.status_of(errors[0]) if len(errors) == len(found) else 200
        return bodies.json(ResponseBody([picture for picture, _ in found]), status)

    async def _picture(
        self, name: str, content: bytes, query: Asked
    ) -> tuple[Recognised | Refused, UserError | None]:
        async with self._decoding:
            try:
                most = self.loaded.max_pixels
                picture = await asyncio.to_thread(pictures.decode, content, name, most)
            except UserError as error:
                self.counters.count(refused_pictures=1)
                return Refused(name, [], Error(error.fact, error.cure)), error
            found = await self.batcher.recognise(picture.pixels, query)
        pills = [pill.scaled(*picture.factors) for pill in found]
        unknown = sum(not pill.known for pill in pills)
        self.counters.count(pictures=1, pills=len(pills), unknown_pills=unknown)
        return Recognised(name, *picture.size, pills), None

    def model(self) -> dict[str, Any]:
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


def create_app(loaded: Loaded, access: Access, limits: Limits) -> Starlette:
    """The application; the models run while its lifespan does."""
    service = Service(loaded, limits)
    description = bodies.describe(limits)

    async def metrics(request: Request) -> Response:
        return Response("\n".join([*service.counters.lines(), ""]), media_type=MEDIA_TYPE)

    routes = [
        Route("/v1/recognise", service.recognise, methods=["POST"]),
        Route("/v1/model", _get(service.model)),
        Route("/openapi.json", _get(lambda: description)),
        Route("/metrics", metrics),
    ]
    handlers = dict.fromkeys((HTTPException, Exception), _problem)
    forever = service.batcher.forever
    return application(routes, PAGE_DIR, POLICY, access, forever, exception_handlers=handlers)


def _get(body: Callable[[], Any]) -> Callable[[Request], Any]:
    async def get(request: Request) -> Response:
        return bodies.json(body())

    return get


async def _problem(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        headers = dict(error.headers or {})
        return bodies.problem(error.status_code, str(error.detail), **headers)
    return bodies.problem(500, "The service failed on this request.", "Look into its log.")
