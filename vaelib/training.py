r"""The training loop: a generator that yields what happened; logs, plots and stopping belong to whoever iterates."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LinearLR

from vaelib.errors import MendableError


class Step(NamedTuple):
    """One update: its number and its epoch, both from 1, whether it ends the epoch, and the mean loss before it.

    >>> layer = torch.nn.Linear(1, 1)
    >>> steps = list(fit(layer, lambda x: layer(x).square()[:, 0], [torch.ones(5, 1)], epochs=2, batch_size=2))
    >>> [step.number for step in steps if step.ends_epoch]
    [3, 6]
    """

    number: int
    epoch: int
    ends_epoch: bool
    loss: Tensor


class NonFiniteLossError(MendableError, RuntimeError):
    """The loss became infinite or not a number; the message names the step and the likely cause.

    >>> layer = torch.nn.Linear(1, 1)
    >>> next(fit(layer, lambda x: layer(x)[:, 0] / 0, [torch.ones(5, 1)], epochs=1))
    Traceback (most recent call last):
        ...
    vaelib.training.NonFiniteLossError: the loss is ...inf at step 1 (epoch 1); the likely cause is ...
    """


def fit(
    model: nn.Module,
    loss: Callable[..., Tensor],
    data: Sequence[Tensor],
    *,
    epochs: int,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    decay: bool = False,
    inner: Sequence[nn.Parameter] = (),
    inner_steps: int = 0,
) -> Iterator[Step]:
    r"""Minimise the mean of `loss(*batch)`, per example `[B]`, with Adam over shuffled mini-batches of `data`.

    With `decay` the learning rate falls linearly: step k of K takes :math:`1 - (k - 1) / K` of it. Before each step the
    parameters in `inner` take `inner_steps` steps of their own, each on as many images drawn at random (He et al.
    2019); for them nothing decays. Randomness comes from torch's global generator. Raises `NonFiniteLossError` before
    a bad step is taken, and `UncalibratedError` before the first where a head calibrates itself and the loss holds no
    ln p(x|z): parts of the model may have a method `check_adapted` that says so. Raises ValueError where epochs or
    batch_size are below 1 or learning_rate is not positive.

    >>> vae, x = mlp_vae(shape=(2, 3), latent_dim=2, head=PixelwiseGaussian, hidden=4), torch.rand(50, 6)
    >>> losses = [step.loss for step in fit(vae, lambda x: -elbo_nats(vae, x), [x], epochs=50, batch_size=25)]
    >>> bool(losses[-1] < losses[0])
    True
    """
    if min(epochs, batch_size) < 1 or learning_rate <= 0:
        raise ValueError(
            f"epochs, batch_size must be at least 1, learning_rate positive: {epochs}, {batch_size}, {learning_rate}"
        )
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(learned, lr=learning_rate, fused=True)
    inner_optimiser = torch.optim.Adam(inner, lr=learning_rate, fused=True) if inner_steps else None
    images, device = len(data[0]), data[0].device
    steps = epochs * math.ceil(images / batch_size)
    schedule = LinearLR(optimiser, start_factor=1.0, end_factor=0.0, total_iters=steps) if decay else None
    model.train()
    number = 0

    def mean_loss(index: Tensor) -> Tensor:
        value = loss(*(tensor.index_select(0, index) for tensor in data)).mean()
        if not torch.isfinite(value):
            raise NonFiniteLossError(_diagnosis(value.item(), number, epoch, learning_rate, data))
        return value

    try:
        for epoch in range(1, epochs + 1):
            batches = torch.randperm(images).to(device).split(batch_size)
            for position, index in enumerate(batches, start=1):
                number += 1
                if inner_optimiser:
                    for few in torch.randint(images, (inner_steps, batch_size)).to(device):
                        _descend(inner_optimiser, mean_loss(few))
                before = mean_loss(index)
                if number == 1:
                    for part in model.modules():
                        getattr(part, "check_adapted", bool)()
                _descend(optimiser, before)
                if schedule:
                    schedule.step()
                yield Step(number, epoch, position == len(batches), before.detach())
    finally:  # whoever iterates may stop early
        model.eval()


def polish(model: nn.Module, loss: Callable[[Tensor], Tensor], data: Tensor, *, iterations: int) -> list[float]:
    r"""Minimise the mean of `loss(data)`, `[B]`, over all data at once, by L-BFGS with a line search; its course.

    For a loss without draws, near its minimum: it knows the curvature, so that directions in which the loss hardly
    changes are walked as far as steep ones (Nocedal and Wright 2006, chapter 7). Stops after so many iterations, or
    when nothing changes any more. Give model and data in float64. Raises `NonFiniteLossError`, and ValueError where
    iterations are below 1.

    >>> layer = torch.nn.Linear(2, 1).double()
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 0.001]]).double()
    >>> course = polish(layer, lambda x: (layer(x)[:, 0] - 1).square(), x, iterations=50)
    >>> course[-1] < 1e-9
    True
    """
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    course: list[float] = []
    optimiser = torch.optim.LBFGS(
        learned,
        max_iter=iterations,
        history_size=50,
        line_search_fn="strong_wolfe",
        tolerance_grad=1e-9,
        tolerance_change=1e-13,
    )

    def evaluate() -> Tensor:
        optimiser.zero_grad()
        value = loss(data).mean()
        if not torch.isfinite(value):
            raise NonFiniteLossError(_diagnosis(value.item(), len(course) + 1, 1, 1.0, [data]))
        value.backward()
        course.append(value.item())
        return value

    optimiser.step(evaluate)
    return course


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def _diagnosis(loss: float, number: int, epoch: int, rate: float, data: Sequence[Tensor]) -> str:
    bad = [i for i, tensor in enumerate(data) if tensor.is_floating_point() and not tensor.isfinite().all()]
    cause = f"a standard deviation that shrank to 0 (raise its floor) or a learning rate of {rate:g} that is too large"
    if bad:
        cause = f"the training data hold values that are not finite (tensor {bad[0]})"
    return f"the loss is {loss} at step {number} (epoch {epoch}); the likely cause is {cause}"
