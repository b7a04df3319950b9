r"""The kernels that nbval starts are spoken to through files rather than ports: the tests need no network at all."""

from tempfile import TemporaryDirectory
from typing import Any

import nbval.kernel
from jupyter_client.manager import KernelManager

SOCKETS: list[TemporaryDirectory[str]] = []  # removed when pytest ends


def local_kernel(**options: Any) -> KernelManager:
    """A manager whose sockets are files in a folder of their own."""
    SOCKETS.append(TemporaryDirectory())
    return KernelManager(transport="ipc", ip=f"{SOCKETS[-1].name}/kernel", **options)


nbval.kernel.KernelManager = local_kernel
