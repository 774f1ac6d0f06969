"""Figures of NVIDIA's GPUs of this machine, by its own library. What cannot be read is absent, never 0."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_log = structlog.get_logger(__name__)


class Gpus(Collector):
    """Utilisation and memory of each GPU; nothing without the extra `gpu`, a driver, or a GPU.

    Source: https://docs.nvidia.com/deploy/nvml-api/
    """

    def __init__(self) -> None:
        self._nvml = _library()
        self._ready = False

    def collect(self) -> Iterable[Metric]:
        """What the driver says now. A GPU that it has lost, or a figure that it does not have, is left out."""
        found = [
            GaugeMetricFamily(f"council_gpu_{name}", text, labels=["gpu"])
            for name, text in (
                ("utilization_ratio", "The share of the last moments in which the GPU worked, from 0 to 1."),
                ("memory_used_bytes", "Memory of the GPU in use."),
                ("memory_total_bytes", "Memory of the GPU."),
            )
        ]
        utilisation, used, total = found
        for number in range(self._count()):
            name = str(number)
            for family, read in (
                (utilisation, lambda gpu: self._nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100),
                (used, lambda gpu: self._nvml.nvmlDeviceGetMemoryInfo(gpu).used),
                (total, lambda gpu: self._nvml.nvmlDeviceGetMemoryInfo(gpu).total),
            ):
                value = self._read(number, read)
                if value is not None:
                    family.add_metric([name], value)
        return [family for family in found if family.samples]

    def _count(self) -> int:
        if self._nvml is None:
            return 0
        try:
            if not self._ready:
                self._nvml.nvmlInit()
                self._ready = True
            return int(self._nvml.nvmlDeviceGetCount())
        except self._nvml.NVMLError as error:
            if self._ready:
                _log.warning("gpus_unreadable", error=str(error))
            # A driver that comes back wants to be asked anew.
            self._ready = False
            return 0

    def _read(self, number: int, read: Callable[[Any], float]) -> float | None:
        try:
            return read(self._nvml.nvmlDeviceGetHandleByIndex(number))
        except self._nvml.NVMLError as error:
            _log.debug("gpu_unreadable", gpu=number, error=str(error))
            return None


def _library() -> Any:
    """NVIDIA's binding; None without the extra `gpu`."""
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        return None
