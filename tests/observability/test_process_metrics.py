"""The process and the GPUs, as a scrape sees them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from monitor.watching.process_metrics import gpus_of_this_machine, watch_process


def tool(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    registry = CollectorRegistry()
    watch_process(registry, gpus_of_this_machine())
    return registry


def test_memory_and_processor_time_of_the_process_are_seen() -> None:
    registry = CollectorRegistry()
    watch_process(registry, None)
    assert (registry.get_sample_value("process_resident_memory_bytes") or 0) > 2**20
    assert registry.get_sample_value("tocsin_gpu_memory_used_bytes", {"gpu": "0"}) is None


def test_gpus_are_seen_where_the_driver_has_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = tool(tmp_path, "echo '0, 1024, 81559, 50'; echo '1, 0, 81559, [N/A]'", monkeypatch)
    assert registry.get_sample_value("tocsin_gpu_memory_used_bytes", {"gpu": "0"}) == 2.0**30
    assert registry.get_sample_value("tocsin_gpu_utilization_ratio", {"gpu": "0"}) == 0.5
    assert registry.get_sample_value("tocsin_gpu_memory_total_bytes", {"gpu": "1"}) == 81559 * 2.0**20


def test_a_driver_that_is_broken_costs_no_scrape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = tool(tmp_path, "echo 'NVIDIA-SMI has failed'; exit 9", monkeypatch)
    assert registry.get_sample_value("tocsin_gpu_memory_used_bytes", {"gpu": "0"}) is None
    assert registry.get_sample_value("process_start_time_seconds") is not None


def test_without_a_driver_no_gpu_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus_of_this_machine() is None
