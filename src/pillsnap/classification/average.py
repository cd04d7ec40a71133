"""An exponential moving average of a model's weights and buffers."""

import copy

import torch
from torch import nn

WARMUP_POWER = 2 / 3


class Average:
    """The average that is evaluated and kept: timm's ModelEmaV3 with its tensors listed once."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(model).eval()
        self._decay = decay
        averages, values = self.module.state_dict().values(), model.state_dict().values()
        pairs = list(zip(averages, values, strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        counters = [pair for pair in pairs if not pair[0].is_floating_point()]
        self._averages, self._values = [a for a, _ in floats], [v for _, v in floats]
        self._copies, self._counters = [a for a, _ in counters], [v for _, v in counters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the model's values after step `step`, counted from 0."""
        # Rises from 0, so that the first weights count for nothing.
        decay = min(1 - step**-WARMUP_POWER, self._decay) if step > 1 else 0.0
        torch._foreach_lerp_(self._averages, self._values, weight=1.0 - decay)
        if self._counters:
            torch._foreach_copy_(self._copies, self._counters)
