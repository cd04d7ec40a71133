"""Training pictures that begin small and grow: the early epochs cost less."""

from dataclasses import dataclass

STEP_PX = 32


@dataclass(frozen=True)
class ImageGrowth:
    """From `first_px` to `last_px` in steps of STEP_PX, over the first half of the epochs."""

    first_px: int
    last_px: int
    epochs: int

    def at(self, epoch: int) -> int:
        """Side of the pictures of an epoch, counted from 0."""
        growing = self.epochs // 2
        if epoch >= growing:
            return self.last_px
        grown = (self.last_px - self.first_px) * epoch // growing
        return self.first_px + grown // STEP_PX * STEP_PX
