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


@dataclass(frozen=True)
class Job:
    """A picture in the queue."""

    frame: Pixels
    top: int
    codes: tuple[str, ...] | None
    answer: asyncio.Future[list[Pill]]


class Batcher:
    """One thread runs the models; a batch is what came in while it was busy with the last one.

    A single request is not delayed.
    """

    def __init__(self, loaded: Loaded, batch_size: int, counters: Counters) -> None:
        self._loaded, self._batch_size, self._counters = loaded, batch_size, counters
        self._waiting: asyncio.Queue[Job] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recogniser")
        self._left: Job | None = None  # would have made the last batch too large

    async def recognise(self, frame: Pixels, top: int, codes: tuple[str, ...] | None) -> list[Pill]:
        """The pills of a picture, once its turn has come."""
        answer: asyncio.Future[list[Pill]] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait(Job(frame, top, codes, answer))
        return await answer

    async def forever(self) -> None:
        """Take batches until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                jobs = await self._next()
                self._counters.batch(len(jobs))
                try:
                    found = await loop.run_in_executor(self._thread, self._run, jobs)
                except Exception as error:  # fails these requests, not the service
                    for job in jobs:
                        if not job.answer.done():
                            job.answer.set_exception(error)
                    continue
                for job, pills in zip(jobs, found, strict=True):
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

    def _run(self, jobs: Sequence[Job]) -> list[list[Pill]]:
        """Jobs that ask for the same go through the models together."""
        found: dict[int, list[Pill]] = {}
        alike: dict[tuple[int, tuple[str, ...] | None], list[int]] = {}
        for i, job in enumerate(jobs):
            alike.setdefault((job.top, job.codes), []).append(i)
        for (top, codes), members in alike.items():
            frames = [jobs[i].frame for i in members]
            pills = self._loaded.recogniser.recognise(frames, top, codes)
            found.update(zip(members, pills, strict=True))
        return [found[i] for i in range(len(jobs))]
