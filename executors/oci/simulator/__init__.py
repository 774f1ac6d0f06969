"""A simulator of Oracle Cloud on this machine's loopback, for tests and for `uici demo --platform oci`.

Belongs here: HTTP as Oracle's services speak it, with shapes, paths and versions read from the `oci` SDK, and a small
cloud behind it whose programs really listen. Clearly a simulation: every answer has the header `opc-simulator: uici`.
Does not belong here: anything that the executor of real Oracle Cloud needs, which never imports this package.
"""

from __future__ import annotations

import importlib

from executors.oci.simulator.orders import Order

try:
    importlib.import_module("oci")  # it is read, not called, and only when the first request comes
    from executors.oci.simulator.simulator import Simulator
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"the simulator of Oracle Cloud needs {missing.name}, which comes with: pip install 'uici[oci]'",
        name=missing.name,
    ) from missing

__all__ = ["Order", "Simulator"]
