"""Installed packages whose version decides whether Tocsin works, or how fast."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from monitor.doctor.check import Result, ok, problem, warning

SUBJECT = "packages"
KAFKA_PYTHON: Final = (3, 0, 9)
APSCHEDULER: Final = (4,)

Find = Callable[[str], str]


def check_packages(find: Find = version) -> Iterator[Result]:
    """``find`` gives the version of a distribution, or raises `PackageNotFoundError`."""
    kafka = find("kafka-python")
    if numbers(kafka) < KAFKA_PYTHON:
        yield problem(
            SUBJECT,
            f"kafka-python {kafka} can leave partitions stuck after a rebalance",
            "pip install 'kafka-python[crc32c,lz4,snappy,zstd]>=3.0.9'",
        )
    scheduler = find("apscheduler")
    if numbers(scheduler) >= APSCHEDULER:
        yield problem(SUBJECT, f"apscheduler {scheduler} has another interface", "pip install 'apscheduler>=3.11,<4'")
    if not _has(find, "crc32c"):
        yield warning(SUBJECT, "crc32c is missing: reading from Kafka is ten times slower", "pip install crc32c")
    if not _has(find, "pyarrow"):
        yield warning(
            SUBJECT,
            "pyarrow is missing: Parquet files cannot be read, and a retraining cannot write what it removed",
            "pip install 'tocsin[data]'",
        )
    names = ("kafka-python", "onnxruntime", "numpy", "apscheduler")
    yield ok(SUBJECT, ", ".join(f"{name} {find(name)}" for name in names))


def numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version.

    >>> numbers("3.0.12.dev1"), numbers("3.0.12") > (3, 0, 9)
    ((3, 0, 12), True)
    """
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _has(find: Find, name: str) -> bool:
    try:
        find(name)
    except PackageNotFoundError:
        return False
    return True
