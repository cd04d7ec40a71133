"""Pictures of many requests through the models together."""

import asyncio

import pytest

from make.drawn_models import RED, frame
from make.services import PAIR, Gate, loaded
from pillsnap.service.batching import Batcher
from pillsnap.service.counters import Counters
from pillsnap.service.requests import Asked


async def settled(batcher_task) -> None:
    for _ in range(20):
        await asyncio.sleep(0)
    assert not batcher_task.done()


SMALL = frame((20, 30, 60, RED))[:100, :100]


@pytest.mark.parametrize(
    ("queued", "batches"),
    [
        ([SMALL] * 5, [1, 4, 1]),  # four of them fit into the pixels of a batch
        ([PAIR] * 2, [1, 1, 1]),  # two of 60,000 pixels are more than 100,000
    ],
)
def test_queued_pictures_are_recognised_together_within_the_pixels_of_one(
    tmp_path, queued, batches
) -> None:
    gate = Gate()

    async def scene() -> list:
        batcher = Batcher(loaded(tmp_path, gate), 4, Counters())
        worker = asyncio.create_task(batcher.forever())
        jobs = [asyncio.create_task(batcher.recognise(PAIR, Asked(1, None)))]
        await settled(worker)
        jobs += [asyncio.create_task(batcher.recognise(frame, Asked(1, None))) for frame in queued]
        await settled(worker)
        gate.open.set()
        answers = await asyncio.gather(*jobs)
        worker.cancel()
        return answers

    answers = asyncio.run(scene())
    assert gate.batches == batches
    assert [len(pills) for pills in answers] == [2, *(2 if f is PAIR else 1 for f in queued)]
