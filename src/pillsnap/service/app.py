"""The HTTP application: recognise, check and search, and the routes about the service itself."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from pillsnap.dataset import pictures
from pillsnap.errors import UserError
from pillsnap.prediction import pairs, prescription
from pillsnap.prediction.load import Loaded
from pillsnap.prediction.output import Answer
from pillsnap.register.search import ZONES, Index, Query
from pillsnap.register.store import Register
from pillsnap.service import bodies, requests
from pillsnap.service.batching import Batcher
from pillsnap.service.bodies import (
    Checked,
    Error,
    Paired,
    Recognised,
    Refused,
    ResponseBody,
    Searched,
    Zone,
)
from pillsnap.service.counters import MEDIA_TYPE, Counters
from pillsnap.service.requests import Asked, Limits
from pillsnap.web.app import application
from pillsnap.web.guard import PAGE, Access, Policy

PAGE_DIR = Path(__file__).parent / "page"
CLIENT_GONE = 499  # as nginx logs it
MOST_DRUGS = 1_000  # of a zone in an answer
LONGEST_WORD = 100  # letters of a query
POLICY = Policy(
    server="service",
    variable="PILLSNAP_API_KEY",
    credentials="A key is needed: Authorization: Bearer <key>, or X-API-Key: <key>.",
    refuse=bodies.problem,
    open_paths=frozenset({"/", PAGE, "/openapi.json"}),
    any_name=True,
)


class Service:
    def __init__(self, loaded: Loaded, limits: Limits, register: Register) -> None:
        self.loaded, self.limits, self.register = loaded, limits, register
        self._index = Index(register.drugs)
        self.counters = Counters()
        self.batcher = Batcher(loaded, limits.batch_size, self.counters)
        self._decoding = asyncio.Semaphore(2 * limits.batch_size)  # bounds pixels in memory

    async def recognise(self, request: Request) -> Response:
        """The pills of pictures."""
        return await self._held(request, self._recognised)

    async def check(self, request: Request) -> Response:
        """The pills of pictures against a prescription."""
        return await self._held(request, self._checked)

    async def pair(self, request: Request) -> Response:
        """The pill that two pictures show."""
        return await self._held(request, self._paired)

    async def search(self, request: Request) -> Response:
        """Drugs of the register by imprint, shape and colour."""
        started_s = time.perf_counter()
        try:
            response = await asyncio.to_thread(self._searched, request)
        except UserError as error:
            response = bodies.problem(400, error.fact, error.cure)
        except HTTPException as error:
            response = await _problem(request, error)
        self.counters.request(response.status_code, time.perf_counter() - started_s)
        return response

    async def _held(
        self, request: Request, answer: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        """The answer, if fewer requests than the queue's length are being answered."""
        counters, started_s = self.counters, time.perf_counter()
        if counters.in_flight >= self.limits.queue:
            fact, cure = "The service is busy.", "Try again in a second."
            response = bodies.problem(429, fact, cure, **{"Retry-After": "1"})
        else:
            counters.in_flight += 1
            try:
                response = await answer(request)
            except HTTPException as error:
                response = await _problem(request, error)
            except ClientDisconnect:
                response = Response(status_code=CLIENT_GONE)
            finally:
                counters.in_flight -= 1
        counters.request(response.status_code, time.perf_counter() - started_s)
        return response

    async def _recognised(self, request: Request) -> Response:
        sent, query = await self._read(request)
        found = await asyncio.gather(*(self._picture(*picture, query) for picture in sent))
        return bodies.json(ResponseBody([picture for picture, _ in found]), _status(found))

    async def _paired(self, request: Request) -> Response:
        sent, query = await self._read(request)
        if len(sent) != 2:
            return bodies.problem(400, f"{len(sent)} pictures; a pair is two.")
        every = query._replace(top=pairs.classes_of(self.loaded))
        found = await asyncio.gather(*(self._picture(*picture, every) for picture in sent))
        answers = [Answer(picture.name, picture.pills, error) for picture, error in found]
        try:
            return bodies.json(Paired(pairs.of(self.loaded, answers, query.top)))
        except UserError as error:
            return bodies.problem(bodies.status_of(error), error.fact, error.cure)

    async def _read(self, request: Request) -> tuple[list[tuple[str, bytes]], Asked]:
        """The pictures and the query; HTTPException 400 for codes that are no class."""
        sent, query, _ = await requests.read(request, self.limits)
        untrained = self.loaded.recogniser.not_classes(query.codes) if query.codes else ""
        if untrained:
            fact = f"The classifier has no class {untrained}; GET /v1/model lists its classes."
            raise HTTPException(400, fact)
        return sent, query

    async def _checked(self, request: Request) -> Response:
        sent, query, listed = await requests.read(request, self.limits)
        try:
            counts = prescription.parsed(listed or "", "The field prescription")
        except UserError as error:
            return bodies.problem(400, error.fact, error.cure)
        items = prescription.items_of(counts, self.loaded.recogniser.classes)
        query = Asked(query.top, None)
        found = await asyncio.gather(*(self._picture(*picture, query) for picture in sent))
        answers = [Answer(picture.name, picture.pills, error) for picture, error in found]
        verdict = prescription.compare(items, answers)
        return bodies.json(Checked(verdict, [picture for picture, _ in found]), _status(found))

    def _searched(self, request: Request) -> Response:
        most = requests.number(request, "most", 20, MOST_DRUGS)
        typed = [request.query_params.get(name, "") for name in ("imprint", "shape", "colour")]
        if any(len(text) > LONGEST_WORD for text in typed):
            return bodies.problem(400, f"A word is longer than {LONGEST_WORD} letters.")
        query = Query.of(*typed)
        if query == Query():
            fact = "The query has no letter, digit, shape or colour."
            return bodies.problem(400, fact, "Give imprint, shape or colour.")
        found = self._index.search(query)
        zones = {name: Zone(ZONES[name], len(drugs), drugs[:most]) for name, drugs in found.items()}
        dates = self.register.version, self.register.checked
        return bodies.json(Searched(query, *dates, zones))

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
            "known_recall": fitted.known_recall,
            "enrolled": self.loaded.enrolled,
            "classes": [
                {"code": code, "drug_name": name, "edi_codes": list(filter(None, edi.split("|")))}
                for code, name, edi in rows
            ],
        }


def create_app(loaded: Loaded, access: Access, limits: Limits, register: Register) -> Starlette:
    """The application; the models run while its lifespan does."""
    service = Service(loaded, limits, register)
    description = bodies.describe(limits)

    async def metrics(request: Request) -> Response:
        return Response("\n".join([*service.counters.lines(), ""]), media_type=MEDIA_TYPE)

    routes = [
        Route("/v1/recognise", service.recognise, methods=["POST"]),
        Route("/v1/pair", service.pair, methods=["POST"]),
        Route("/v1/check", service.check, methods=["POST"]),
        Route("/v1/search", service.search),
        Route("/v1/model", _get(service.model)),
        Route("/openapi.json", _get(lambda: description)),
        Route("/metrics", metrics),
    ]
    handlers = dict.fromkeys((HTTPException, Exception), _problem)
    forever = service.batcher.forever
    return application(routes, PAGE_DIR, POLICY, access, forever, exception_handlers=handlers)


def _status(found: list[tuple[Recognised | Refused, UserError | None]]) -> int:
    """200 if a picture could be read, else the status of the first."""
    errors = [error for _, error in found if error is not None]
    return bodies.status_of(errors[0]) if len(errors) == len(found) else 200


def _get(body: Callable[[], Any]) -> Callable[[Request], Any]:
    async def get(request: Request) -> Response:
        return bodies.json(body())

    return get


async def _problem(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        headers = dict(error.headers or {})
        return bodies.problem(error.status_code, str(error.detail), **headers)
    return bodies.problem(500, "The service failed on this request.", "Look into its log.")
