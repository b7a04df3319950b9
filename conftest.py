r"""The kernels that nbval starts have settings of their own and need no network; no test outlives its make."""

import os
from contextlib import ExitStack
from typing import Any

import nbval.kernel
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from vaelib.build.processes import end_in_order

FOLDERS = ExitStack()
#: How wide and how coloured a terminal is, how the user likes pictures: no matter of a test's.
TERMINAL, PICTURES = ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "GITHUB_ACTIONS"), ("MATPLOTLIBRC", "MPLCONFIGDIR")
for name in (*TERMINAL, *PICTURES, "MPLBACKEND"):
    os.environ.pop(name, None)


class OwnKernel(KernelManager):
    """A manager that starts the book's own kernel, whichever is asked for."""

    def __init__(self, **options: Any) -> None:
        from vaelib.build import kernels

        place = FOLDERS.enter_context(kernels.folder())
        self.own = kernels.environment(place)
        there = KernelSpecManager(kernel_dirs=[str(kernels.kernels(place))])
        super().__init__(
            **kernels.sockets(place), **options | {"kernel_name": kernels.KERNEL, "kernel_spec_manager": there}
        )

    def start_kernel(self, **options: Any) -> Any:
        """With the book's settings beside all that the tests were started with."""
        return super().start_kernel(env=os.environ | self.own, **options)


def pytest_configure(config: pytest.Config) -> None:
    """Before all tests."""
    end_in_order()
    nbval.kernel.KernelManager = OwnKernel


def pytest_unconfigure(config: pytest.Config) -> None:
    """After all tests."""
    FOLDERS.close()
