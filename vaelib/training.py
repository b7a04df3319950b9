r"""The training loop: a generator that yields what happened; logs, plots and stopping belong to whoever iterates."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vaelib.errors import MendableError


class Step(NamedTuple):
    """One update: its number and its epoch, both from 1, whether it ends the epoch, and the mean loss before it."""

    number: int
    epoch: int
    ends_epoch: bool
    loss: Tensor


class NonFiniteLossError(MendableError, RuntimeError):
    """The loss became infinite or not a number; the message names the step and the likely cause."""


def fit(
    model: nn.Module,
    loss: Callable[..., Tensor],
    data: Sequence[Tensor],
    *,
    epochs: int,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
) -> Iterator[Step]:
    """Minimise the mean of `loss(*batch)`, per example `[B]`, with Adam over shuffled mini-batches of `data`.

    Randomness comes from torch's global generator. Raises `NonFiniteLossError` before a bad step is taken.
    """
    if min(epochs, batch_size) < 1 or learning_rate <= 0:
        raise ValueError(
            f"epochs and batch_size must be at least 1 and learning_rate positive, "
            f"got {epochs}, {batch_size}, {learning_rate}"
        )
    optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate, fused=True)
    model.train()
    number = 0
    for epoch in range(1, epochs + 1):
        batches = torch.randperm(len(data[0])).to(data[0].device).split(batch_size)
        for position, index in enumerate(batches, start=1):
            number += 1
            mean_loss = loss(*(tensor[index] for tensor in data)).mean()
            if not torch.isfinite(mean_loss):
                raise NonFiniteLossError(_diagnosis(mean_loss.item(), number, epoch, learning_rate, data))
            optimiser.zero_grad()
            mean_loss.backward()
            optimiser.step()
            yield Step(number, epoch, position == len(batches), mean_loss.detach())
    model.eval()


def _diagnosis(loss: float, number: int, epoch: int, learning_rate: float, data: Sequence[Tensor]) -> str:
    bad_data = [i for i, tensor in enumerate(data) if tensor.is_floating_point() and not tensor.isfinite().all()]
    cause = (
        f"the training data hold values that are not finite (tensor {bad_data[0]})"
        if bad_data
        else f"a standard deviation that shrank to 0 (raise its floor) or a learning rate of {learning_rate:g} that is "
        "too large (lower it)"
    )
    return f"the loss is {loss} at step {number} (epoch {epoch}); the likely cause is {cause}"
