"""An optimizer step that a loss or gradient that is not finite cannot ruin."""

import math
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves

from pillsnap.training.ranks import running_statistics


class SafeStep:
    """Clips the gradients and steps the optimizer, unless the loss or a gradient is not finite.

    The device decides, so that the host does not wait: a fused AdamW leaves everything as it is
    where `found_inf` is 1, and the batch norms' statistics, which the forward pass has already
    changed, are taken back.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.AdamW,
        scaler: torch.amp.GradScaler,
        max_norm: float,
    ) -> None:
        assert all(group["fused"] for group in optimizer.param_groups)
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._optimizer, self._scaler, self._max_norm = optimizer, scaler, max_norm
        self._statistics = Statistics(model)
        self.skipped = torch.zeros((), dtype=torch.int64, device=self._parameters[0].device)

    def __call__(self, loss: torch.Tensor | None = None) -> torch.Tensor:
        """Whether the step was taken, as a tensor on the device; `skipped` counts where not.

        Give the `loss` only if it is the same in all ranks, as the gradients are.
        """
        self._scaler.unscale_(self._optimizer)
        norm = nn.utils.clip_grad_norm_(self._parameters, self._max_norm, foreach=True)
        finite = norm.isfinite() if loss is None else norm.isfinite() & loss.isfinite()
        self._optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
        self._optimizer.step()
        self._scaler.update()
        self._statistics.keep(finite)
        self.skipped += ~finite
        return finite

    def undo_forward(self) -> None:
        """Take back what forward passes since the last step did to the batch norms' statistics."""
        self._statistics.restore()

    def restart(self, skipped: int = 0) -> None:
        """The model was loaded anew, or an epoch begins: `skipped` steps of it were skipped."""
        self._statistics.refresh()
        self.skipped.fill_(skipped)

    def unsound(self, steps: int) -> str | None:
        """Why the model must not be used after `steps` steps, if most were skipped. Waits."""
        skipped = int(self.skipped)
        if skipped * 2 <= steps:
            return None
        return f"{skipped} of {steps} steps had a loss or gradient that is not finite"


class Statistics:
    """A copy of the batch norms' statistics after the last step, in one tensor."""

    def __init__(self, model: nn.Module) -> None:
        norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        self._live = running_statistics(model)
        self._flat = [tensor.view(-1) for tensor in self._live]
        self._counters = [c for norm in norms if (c := norm.num_batches_tracked) is not None]
        self.refresh()

    def refresh(self) -> None:
        """Copy them as they are."""
        if not self._live:
            return
        self._kept = torch.cat(self._flat)
        parts = torch.split(self._kept, [tensor.numel() for tensor in self._live])
        self._copies = [part.view_as(t) for part, t in zip(parts, self._live, strict=True)]
        self._counts = [counter.clone() for counter in self._counters]

    def keep(self, finite: torch.Tensor) -> None:
        """Copy them where `finite`, else restore them."""
        if self._live:
            torch.where(finite, torch.cat(self._flat), self._kept, out=self._kept)
            torch._foreach_copy_(self._live, self._copies)
            torch._foreach_copy_(self._counts, self._counters)

    def restore(self) -> None:
        """Set the model's statistics to the copy."""
        if self._live:
            torch._foreach_copy_(self._live, self._copies)
            torch._foreach_copy_(self._counters, self._counts)


def all_finite(state: Any) -> bool:
    """Whether the floating-point tensors in nested dicts and lists are finite. Waits."""
    groups: dict[tuple[torch.device, torch.dtype], list[torch.Tensor]] = {}
    for leaf in tree_leaves(state):
        if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() and leaf.numel():
            groups.setdefault((leaf.device, leaf.dtype), []).append(leaf)
    norms = (torch.stack(list(torch._foreach_norm(g, math.inf))) for g in groups.values())
    return all(bool(norm.isfinite().all()) for norm in norms)
