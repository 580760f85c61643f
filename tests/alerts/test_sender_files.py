"""Alerts in a file that is rotated by size, and on standard output."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from alert_lines import alert as plain_alert
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.alerts.alert import Alert
from monitor.alerts.open_sinks import open_sink
from monitor.alerts.send.file import FileSink
from monitor.alerts.send.stdout import StdoutSink
from monitor.alerts.sink import SinkRetryableError
from monitor.settings.sink_sections import SinkConfig


def alert(number: int, size: int = 100) -> Alert:
    return plain_alert(number, json.dumps({"n": number, "fill": "x" * (size - 25)}).encode())


def numbers(path: Path) -> list[int]:
    return [json.loads(text)["n"] for text in path.read_text().splitlines()]


def everything(path: Path) -> list[int]:
    """In the order in which it was written."""
    older = sorted(path.parent.glob(f"{path.name}.*"), key=lambda one: -int(one.suffix[1:]))
    return [number for one in (*older, path) if one.exists() for number in numbers(one)]


def test_a_file_is_renamed_before_it_grows_too_large_and_the_oldest_go(tmp_path: Path) -> None:
    path = tmp_path / "alerts.ndjson"
    sink = FileSink(path, 1000, 2)
    for i in range(40):
        assert sink.send([alert(i)]) == 0
    sink.close()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["alerts.ndjson", "alerts.ndjson.1", "alerts.ndjson.2"]
    assert all(one.stat().st_size <= 1000 for one in tmp_path.iterdir())
    kept = everything(path)
    assert kept == list(range(40))[-len(kept) :]
    assert len(kept) >= 20


@settings(max_examples=30)
@given(sizes=st.lists(st.lists(st.integers(40, 700), max_size=8), max_size=8))
def test_nothing_is_lost_or_torn_where_enough_files_are_kept(
    sizes: list[list[int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("files") / "alerts.ndjson"
    sink, written = FileSink(path, 1000, 1000), 0
    for batch in sizes:
        sink.send([alert(written + i, size) for i, size in enumerate(batch)])
        written += len(batch)
    sink.close()
    assert everything(path) == list(range(written))
    assert all(one.stat().st_size <= 1000 for one in path.parent.iterdir())


def test_an_alert_larger_than_a_file_has_one_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "alerts.ndjson"
    sink = FileSink(path, 1000, 5)
    sink.send([alert(0), alert(1, 3000), alert(2)])
    sink.close()
    assert (numbers(tmp_path / "alerts.ndjson.2"), numbers(tmp_path / "alerts.ndjson.1")) == ([0], [1])
    assert numbers(path) == [2]


def test_another_program_may_rotate_it_as_well(tmp_path: Path) -> None:
    path = tmp_path / "alerts.ndjson"
    sink = open_sink(SinkConfig(type="file", path=path, rotate_bytes=65_536), time.monotonic)
    sink.send([alert(0)])
    path.rename(tmp_path / "alerts.ndjson-20260101")
    sink.send([alert(1)])
    path.unlink()
    sink.send([alert(2)])
    sink.close()
    assert (numbers(tmp_path / "alerts.ndjson-20260101"), numbers(path)) == ([0], [2])


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        with suppress(OSError):
            os.close(descriptor)


def test_standard_output_gets_a_line_an_alert(capfd: pytest.CaptureFixture[str]) -> None:
    sink = open_sink(SinkConfig(type="stdout"), time.monotonic)
    assert sink.send([alert(0), alert(1, 20_000)]) == 0
    assert [json.loads(text)["n"] for text in capfd.readouterr().out.splitlines()] == [0, 1]


def test_a_pipe_that_nobody_reads_holds_nothing_up_for_long(pipe: tuple[int, int]) -> None:
    sink = StdoutSink(pipe[1], time.monotonic, 0.5)
    alerts = [alert(i, 9000) for i in range(30)]
    with pytest.raises(SinkRetryableError, match=r"nobody reads it for 0\.5 s") as caught:
        sink.send(alerts)
    read = b""
    thread = threading.Thread(target=lambda: sink.send(alerts[caught.value.read :]), daemon=True)
    thread.start()
    while len(whole := [json.loads(text)["n"] for text in read.split(b"\n")[:-1] if text.endswith(b"}")]) < 30:
        read += os.read(pipe[0], 65_536)
    thread.join()
    assert 0 < caught.value.read < 30
    assert whole == list(range(30))


def test_a_reader_that_has_gone_is_said(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    with pytest.raises(SinkRetryableError, match="standard output cannot be written: Broken pipe"):
        StdoutSink(pipe[1], time.monotonic).send([alert(0)])
