from __future__ import annotations

import json
from pathlib import Path

import pytest

from monitor.decoding.quarantine import Quarantine
from monitor.decoding.reject import Reject
from monitor.sources.source import Partition
from monitor.state.output_file import MOST_HELD, OutputFile, OutputFileError

PARTITION = Partition("soc.inference", 2)


def reject(offset: int = 7, source: str = "sensor", raw: bytes = b"{") -> Reject:
    return Reject(offset, "bad_json", source, "truncated", raw)


def offsets(path: Path) -> list[int]:
    return [json.loads(line)["offset"] for line in path.read_text().splitlines()]


def test_a_reject_is_written_with_its_place_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "quarantine.ndjson"
    with OutputFile(path) as output:
        quarantine = Quarantine(output)
        quarantine.add(PARTITION, [reject(), reject(9, raw=b'\xff"\x00\n')])
    first, second = map(json.loads, path.read_text().splitlines())
    assert first == {
        "topic": "soc.inference",
        "partition": 2,
        "offset": 7,
        "reason": "bad_json",
        "source": "sensor",
        "detail": "truncated",
        "raw": "{",
    }
    assert (second["offset"], second["raw"]) == (9, '\\xff"\x00\n')
    assert quarantine.counts == {("bad_json", "sensor"): 2}
    assert quarantine.by_reason == {"bad_json": 2}


def test_sources_are_bounded() -> None:
    quarantine = Quarantine(None)
    quarantine.add(PARTITION, [reject(i, source=f"s{i}") for i in range(1500)])
    assert len(quarantine.counts) == 1001
    assert quarantine.counts["bad_json", "(other)"] == 500
    assert quarantine.by_reason == {"bad_json": 1500}


def test_beyond_its_size_the_file_does_not_grow_but_counts_do(tmp_path: Path) -> None:
    path = tmp_path / "q.ndjson"
    with OutputFile(path) as output:
        quarantine = Quarantine(output, max_bytes=400)
        quarantine.add(PARTITION, [reject(i) for i in range(10)])
    assert len(offsets(path)) + quarantine.unwritten == 10
    assert 300 < path.stat().st_size <= 400
    assert quarantine.by_reason == {"bad_json": 10}


def test_after_a_restart_every_reject_is_there_once(tmp_path: Path) -> None:
    path = tmp_path / "q.ndjson"
    with OutputFile(path) as output:
        quarantine = Quarantine(output)
        quarantine.add(PARTITION, [reject(1), reject(2)])
        saved = quarantine.state()
        quarantine.add(PARTITION, [reject(3)])
    with OutputFile(path) as output:
        quarantine = Quarantine(output)
        quarantine.restore(saved)
        quarantine.add(PARTITION, [reject(3)])
    assert offsets(path) == [1, 2, 3]
    assert quarantine.by_reason == {"bad_json": 3}


def test_lines_after_the_checkpoint_are_cut_off(tmp_path: Path) -> None:
    with OutputFile(tmp_path / "windows.ndjson") as output:
        output.append(b"kept")
        position = output.position
        output.append(b"written after the checkpoint")
        output.truncate_to(position)
        output.append(b"again")
    assert (tmp_path / "windows.ndjson").read_bytes() == b"kept\nagain\n"


def test_an_output_goes_on_where_it_ended(tmp_path: Path) -> None:
    with OutputFile(tmp_path / "o") as output:
        output.append(b"a")
    with OutputFile(tmp_path / "o") as output:
        assert output.position == 2
        output.append(b"b")
        output.sync()
        assert (tmp_path / "o").read_bytes() == b"a\nb\n"


def test_what_is_held_until_it_is_saved_is_bounded_and_still_cut_off(tmp_path: Path) -> None:
    """A broker that takes no commit for hours: nothing is saved, and events come all the same."""
    path, line = tmp_path / "windows.ndjson", b"x" * (MOST_HELD // 4)
    with OutputFile(path) as output:
        output.append(b"kept")
        output.sync()
        position = output.position
        for _ in range(10):
            output.append(line)
        assert output.position - path.stat().st_size <= MOST_HELD
        assert path.read_bytes().endswith(b"x\n")
        output.truncate_to(position)
    assert path.read_bytes() == b"kept\n"


def test_an_output_that_lacks_a_part_is_refused(tmp_path: Path) -> None:
    with (
        OutputFile(tmp_path / "windows.ndjson") as output,
        pytest.raises(OutputFileError, match=r"windows\.ndjson has 0 bytes, but the checkpoint .* 10: put"),
    ):
        output.truncate_to(10)
