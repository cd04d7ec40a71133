"""Reference losses of both trainings on the CPU: a change that should not alter numbers is caught.

When numbers change on purpose, `python tests/training/test_golden_losses.py` writes the new ones;
say why in the commit. With ATEN_CPU_CAPABILITY and ONEDNN_MAX_CPU_ISA limited to AVX2 and to
SSE4.1, the losses differ by at most 0.0005 % and 0.2 %. Only the detector's first epoch is
compared: after it, rounding changes which anchors are assigned to which box.
"""

import json
import tempfile
from pathlib import Path

import pytest

from make import training_project

GOLDEN = Path(__file__).with_name("golden_losses.json")
TOLERANCE = 5e-3  # of the loss
MAKERS = {
    "classification": (training_project.make, 3),
    "detection": (training_project.make_detection, 1),
}


def losses(folder: Path, task: str) -> list[list[float]]:
    """[loss/train, loss/val] of the first epochs in float32."""
    make, epochs = MAKERS[task]
    make(folder, epochs=epochs, mixed_precision="off")
    training_project.finish(folder)
    found = [event["metrics"] for event in training_project.events(folder, "epoch")]
    return [[epoch["loss/train"], epoch["loss/val"]] for epoch in found]


@pytest.mark.slow
@pytest.mark.parametrize("task", MAKERS)
def test_first_losses_are_the_golden_ones(tmp_path, task):
    golden = json.loads(GOLDEN.read_text())[task]
    assert losses(tmp_path, task) == [pytest.approx(epoch, rel=TOLERANCE) for epoch in golden]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as parent:
        found = {task: losses(Path(parent, task), task) for task in MAKERS}
    GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
