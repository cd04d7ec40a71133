"""Pictures of many requests through the models together."""

import asyncio

from make.drawn_models import RED, frame
from make.services import PAIR, Gate, loaded
from pillsnap.service.batching import Batcher
from pillsnap.service.counters import Counters


async def settled(batcher_task) -> None:
    for _ in range(20):
        await asyncio.sleep(0)
    assert not batcher_task.done()


def test_queued_pictures_are_recognised_in_one_batch(tmp_path) -> None:
    gate = Gate()

    async def scene() -> list:
        batcher = Batcher(loaded(tmp_path, gate), 4, Counters())
        worker = asyncio.create_task(batcher.forever())
        first = asyncio.create_task(batcher.recognise(PAIR, 1, None))
        await settled(worker)
        small = frame((20, 30, 60, RED))[:100, :100]  # four of them fit into the pixels of a batch
        others = [asyncio.create_task(batcher.recognise(small, 1, None)) for _ in range(5)]
        await settled(worker)
        gate.open.set()
        answers = await asyncio.gather(first, *others)
        worker.cancel()
        return answers

    answers = asyncio.run(scene())
    assert gate.batches == [1, 4, 1]
    assert [len(pills) for pills in answers] == [2, 1, 1, 1, 1, 1]


def test_a_batch_has_at_most_the_pixels_of_the_largest_picture(tmp_path) -> None:
    gate = Gate()

    async def scene() -> None:
        batcher = Batcher(loaded(tmp_path, gate), 4, Counters())
        worker = asyncio.create_task(batcher.forever())
        jobs = [asyncio.create_task(batcher.recognise(PAIR, 1, None)) for _ in range(3)]
        gate.open.set()
        await asyncio.gather(*jobs)
        worker.cancel()

    asyncio.run(scene())
    assert gate.batches == [1, 1, 1]  # two of 60,000 pixels are more than 100,000
