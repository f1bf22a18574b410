"""Who takes part in a training: one process, or several that ``accelerate launch`` has started."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Processes:
    """This process among ``count``. Every one of them draws the whole batch and works on its own share of the rows.

    Gradients are sums over shares and losses are divided by the whole batch, so that any number of processes takes the
    step that one would take, up to the order of a sum.
    """

    count: int = 1
    index: int = 0

    @property
    def first(self) -> bool:
        """True for the process that writes files and reports."""
        return self.index == 0

    def share(self, rows: int) -> slice:
        """This process's rows of a batch: contiguous, all shares together the batch, sizes at most one apart."""
        return slice(rows * self.index // self.count, rows * (self.index + 1) // self.count)

    def sum(self, tensor: Tensor) -> Tensor:
        """The tensor summed over all processes, in place."""
        if self.count > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    @torch.no_grad()
    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace every gradient by its sum over all processes; one that is missing here counts as zero.

        All of a data type travel in one message: adapters have hundreds of small tensors.
        """
        if self.count == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        by_type: dict[torch.dtype, list[Tensor]] = {}
        for parameter in parameters:
            assert parameter.grad is not None
            by_type.setdefault(parameter.grad.dtype, []).append(parameter.grad)
        for gradients in by_type.values():
            flat = self.sum(torch.cat([g.reshape(-1) for g in gradients]))
            for gradient, piece in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
                gradient.copy_(piece.view_as(gradient))

    def wait(self) -> None:
        """Go on when all processes have come here."""
        if self.count > 1:
            torch.distributed.barrier()


def join_processes() -> Processes:
    """The processes that ``accelerate launch`` started, this one among them; alone where it did not."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes()
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    return Processes(state.num_processes, state.process_index)
