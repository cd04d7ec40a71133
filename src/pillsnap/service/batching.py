"""Pictures of many requests through the models together: whatever waits when they are free."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from pillsnap.arrays import Pixels
from pillsnap.prediction.load import Loaded
from pillsnap.recognition.recogniser import Pill
from pillsnap.service.counters import Counters
from pillsnap.service.requests import Asked


@dataclass(frozen=True)
class Job:
    frame: Pixels
    query: Asked
    answer: asyncio.Future[list[Pill]]


class Batcher:
    """One thread runs the models; a batch is what came in while it was busy with the last one."""

    def __init__(self, loaded: Loaded, batch_size: int, counters: Counters) -> None:
        self._loaded, self._batch_size, self._counters = loaded, batch_size, counters
        self._waiting: asyncio.Queue[Job] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recogniser")
        self._left: Job | None = None  # would have made the last batch too large

    async def recognise(self, frame: Pixels, query: Asked) -> list[Pill]:
        answer: asyncio.Future[list[Pill]] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait(Job(frame, query, answer))
        return await answer

    async def forever(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                jobs = await self._next()
                self._counters.count(batches=1, batched_pictures=len(jobs))
                try:
                    found = await loop.run_in_executor(self._thread, self._run, jobs)
                except Exception as error:  # fails these requests, not the service
                    for job in jobs:
                        if not job.answer.done():
                            job.answer.set_exception(error)
                    continue
                for job, pills in found:
                    if not job.answer.done():  # its client may have gone
                        job.answer.set_result(pills)
        finally:
            self._thread.shutdown(wait=False)

    async def _next(self) -> list[Job]:
        jobs = [self._left or await self._waiting.get()]
        self._left, held = None, jobs[0].frame[..., 0].size
        with suppress(asyncio.QueueEmpty):
            while len(jobs) < self._batch_size:
                job = self._waiting.get_nowait()
                held += job.frame[..., 0].size
                if held > self._loaded.max_pixels:
                    self._left = job
                    break
                jobs.append(job)
        return jobs

    def _run(self, jobs: Sequence[Job]) -> list[tuple[Job, list[Pill]]]:
        """Jobs that ask for the same go through the models together."""
        found: list[tuple[Job, list[Pill]]] = []
        for query in {job.query for job in jobs}:
            group = [job for job in jobs if job.query == query]
            pills = self._loaded.recognise([job.frame for job in group], *query)
            found += zip(group, pills, strict=True)
        return found
