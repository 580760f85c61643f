"""What Prometheus sees of the process itself and of the machine's GPUs, asked at each scrape."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

FIELDS: Final = "index,memory.used,memory.total,utilization.gpu"
PATIENCE_SECONDS: Final = 5.0
MEBIBYTE: Final = 2**20


class Gpu(NamedTuple):
    """A GPU as `nvidia-smi` tells; NaN for what it does not tell. ``busy`` is a share of the time."""

    name: str
    used_bytes: float
    total_bytes: float
    busy: float


ReadGpus = Callable[[], Sequence[Gpu]]


def watch_process(registry: CollectorRegistry, read_gpus: ReadGpus | None) -> None:
    """Show memory, processor time and files of this process (`process_*`), and the GPUs that ``read_gpus`` finds."""
    ProcessCollector(registry=registry)
    if read_gpus is not None:
        registry.register(GpuCollector(read_gpus))


def gpus_of_this_machine() -> ReadGpus | None:
    """Asks `nvidia-smi`; None where there is no such program."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, f"--query-gpu={FIELDS}", "--format=csv,noheader,nounits"]

    def read() -> list[Gpu]:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True)  # noqa: S603 - our own words
        except (OSError, subprocess.SubprocessError):
            return []  # a scrape shows what there is: without the driver no GPU is seen
        return gpus(done.stdout)

    return read


class GpuCollector(Collector):
    """The GPUs as they are at a scrape."""

    def __init__(self, read: ReadGpus) -> None:
        self._read = read

    def describe(self) -> Iterator[Metric]:
        """The names, without asking any GPU."""
        yield from families()

    def collect(self) -> Iterator[Metric]:
        """The figures of this moment."""
        used, total, busy = families()
        for gpu in self._read():
            used.add_metric([gpu.name], gpu.used_bytes)
            total.add_metric([gpu.name], gpu.total_bytes)
            busy.add_metric([gpu.name], gpu.busy)
        yield from (used, total, busy)


def families() -> tuple[GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily]:
    """What is shown of a GPU, empty."""
    return (
        GaugeMetricFamily("tocsin_gpu_memory_used_bytes", "Memory of a GPU that is used, by anyone.", labels=["gpu"]),
        GaugeMetricFamily("tocsin_gpu_memory_total_bytes", "Memory of a GPU.", labels=["gpu"]),
        GaugeMetricFamily("tocsin_gpu_utilization_ratio", "Share of the time that a GPU is busy.", labels=["gpu"]),
    )


def gpus(text: str) -> list[Gpu]:
    """The lines of `nvidia-smi --query-gpu --format=csv,noheader,nounits`, which counts in MiB and percent.

    >>> gpus("0, 512, 1024, 25")
    [Gpu(name='0', used_bytes=536870912.0, total_bytes=1073741824.0, busy=0.25)]
    >>> gpus("1, [N/A], 1024, [N/A]")
    [Gpu(name='1', used_bytes=nan, total_bytes=1073741824.0, busy=nan)]
    """
    rows = (line.split(", ") for line in text.strip().splitlines())
    return [
        Gpu(row[0], _number(row[1]) * MEBIBYTE, _number(row[2]) * MEBIBYTE, _number(row[3]) / 100)
        for row in rows
        if len(row) == len(FIELDS.split(","))
    ]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
