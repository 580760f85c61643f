"""The spool keeps alerts over crashes, in order, within its limit; what was seen is remembered."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from alert_lines import alert as plain_alert
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from monitor.alerts.alert import Alert
from monitor.alerts.seen import DIGEST_BYTES, Seen
from monitor.alerts.spool import Spool
from monitor.alerts.spool_marks import CURSOR, WRITTEN


def alert(number: int, body: bytes = b"{}") -> Alert:
    return plain_alert(number, body, id=str(number))


def spool(folder: Path, limit: int = 1_000_000, segment_bytes: int = 500) -> Spool:
    return Spool(folder, limit, segment_bytes)


def ids(found: list[Alert]) -> list[int]:
    return [int(one.id) for one in found]


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.seg"))


def test_alerts_come_out_as_they_went_in(tmp_path: Path) -> None:
    kept = spool(tmp_path)
    assert ids(kept.append([alert(1, b"\x00\xff"), alert(2)])) == [1, 2]
    assert kept.peek(10) == [alert(1, b"\x00\xff"), alert(2)]
    assert kept.newest(1) == [alert(2)]


def test_delivered_segments_are_removed(tmp_path: Path) -> None:
    kept = spool(tmp_path)
    for number in range(50):
        kept.append([alert(number)])
    assert len(segments(tmp_path)) > 5
    kept.advance(50)
    assert len(segments(tmp_path)) == 1
    assert (len(kept), kept.waiting_bytes) == (0, 0)


def test_there_is_room_for_so_many_bytes_only_and_the_oldest_stay(tmp_path: Path) -> None:
    kept = spool(tmp_path, limit=1000)
    fitting = len(kept.append([alert(number) for number in range(100)]))
    assert 0 < fitting < 100
    assert kept.waiting_bytes <= 1000
    assert ids(kept.peek(100)) == list(range(fitting))
    kept.advance(fitting)
    assert ids(kept.append([alert(100)])) == [100]


def test_one_that_is_too_large_costs_no_other(tmp_path: Path) -> None:
    kept = spool(tmp_path, limit=1000)
    huge, large = alert(1, b"x" * 2000), alert(3, b"x" * 700)
    assert ids(kept.append([alert(0), huge, alert(2), large, alert(4)])) == [0, 2, 4]
    assert kept.waiting_bytes <= 1000
    assert ids(spool(tmp_path, limit=1000).peek(9)) == [0, 2, 4]


@pytest.mark.parametrize(("damage", "spoilt"), [("cut", 1), ("flipped", 1), ("half a record", 0)])
def test_what_was_not_acknowledged_is_cut_off_what_was_is_counted_once_and_writing_goes_on(
    tmp_path: Path, damage: str, spoilt: int
) -> None:
    kept = spool(tmp_path)
    kept.append([alert(1), alert(2)])
    path = segments(tmp_path)[-1]
    content = path.read_bytes()
    torn = {
        "cut": content[:-3],
        "flipped": content[:-1] + bytes([content[-1] ^ 1]),
        "half a record": content + content[:30],
    }
    path.write_bytes(torn[damage])
    whole = [1] if spoilt else [1, 2]
    for _ in range(2):  # nobody was told yet
        again = spool(tmp_path)
        assert (ids(again.peek(10)), again.spoilt) == (whole, spoilt)
    again.said()
    assert (again.spoilt, spool(tmp_path).spoilt) == (0, 0)
    again.append([alert(3)])
    last = spool(tmp_path)
    assert (ids(last.peek(10)), last.spoilt) == ([*whole, 3], 0)


def test_the_first_record_that_was_being_written_is_no_loss(tmp_path: Path) -> None:
    spool(tmp_path)
    (tmp_path / f"{1:016d}.seg").write_bytes(b"\x00\x00\x00\xffhalf a record")
    again = spool(tmp_path)
    assert (len(again), again.spoilt) == (0, 0)


def test_without_a_mark_of_what_was_written_a_damaged_end_counts_as_lost(tmp_path: Path) -> None:
    spool(tmp_path).append([alert(1), alert(2)])
    (tmp_path / WRITTEN).unlink()
    path = segments(tmp_path)[-1]
    path.write_bytes(path.read_bytes()[:-3])
    again = spool(tmp_path)
    assert (ids(again.peek(9)), again.spoilt) == ([1], 1)


@pytest.mark.parametrize(("delivered", "spoilt"), [(0, 1), (2, 0)])
def test_a_newest_segment_that_is_gone_counts_where_it_held_what_waits(
    tmp_path: Path, delivered: int, spoilt: int
) -> None:
    kept = spool(tmp_path)
    kept.append([alert(1), alert(2)])
    kept.advance(delivered)
    segments(tmp_path)[-1].unlink()
    again = spool(tmp_path)
    assert (len(again), again.spoilt) == (0, spoilt)
    again.said()
    again.append([alert(3)])
    assert (ids(spool(tmp_path).peek(9)), spool(tmp_path).spoilt) == ([3], 0)


def test_without_its_place_everything_on_disk_is_sent_again(tmp_path: Path) -> None:
    kept = spool(tmp_path)
    kept.append([alert(1), alert(2)])
    kept.advance(1)
    (tmp_path / CURSOR).write_bytes(b"")
    assert ids(spool(tmp_path).peek(10)) == [1, 2]


def test_what_is_written_after_segments_were_removed_is_not_taken_for_delivered(tmp_path: Path) -> None:
    kept = spool(tmp_path)
    kept.append([alert(1), alert(2)])
    kept.advance(2)
    for segment in segments(tmp_path):
        segment.unlink()
    spool(tmp_path).append([alert(3)])
    assert ids(spool(tmp_path).peek(9)) == [3]


def test_a_place_that_cannot_be_kept_costs_repeats_only(tmp_path: Path) -> None:
    kept = spool(tmp_path)
    kept.append([alert(1), alert(2)])
    (tmp_path / CURSOR).mkdir()
    kept.advance(1)
    assert ids(kept.peek(9)) == [2]
    (tmp_path / CURSOR).rmdir()
    assert ids(spool(tmp_path).peek(9)) == [1, 2]


FULL_DISK = """
import resource, sys
from pathlib import Path
from test_alerts_spool import alert, spool
kept = spool(Path(sys.argv[1]), segment_bytes=10**6)
kept.append([alert(1)])
size = next(Path(sys.argv[1]).glob("*.seg")).stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, resource.RLIM_INFINITY))
try:
    kept.append([alert(2), alert(3)])
except OSError as error:
    print(error.strerror)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
kept.append([alert(4)])
print([one.id for one in kept.peek(9)])
"""


def test_half_a_write_to_a_full_disk_leaves_no_trace(tmp_path: Path) -> None:
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in [str(Path(__file__).parent), *sys.path] if path),
    }
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    assert done.stdout.splitlines() == ["File too large", "['1', '4']"]
    assert ids(spool(tmp_path).peek(9)) == [1, 4]


class SpoolMachine(RuleBasedStateMachine):
    """Against a plain list, with restarts and crashes at any time."""

    folders = iter(range(10**9))
    root = Path()

    def __init__(self) -> None:
        super().__init__()
        self.folder = self.root / str(next(self.folders))
        self.spool = spool(self.folder)
        self.expected: list[int] = []
        self.next = 0

    @rule(n=st.integers(0, 8))
    def append(self, n: int) -> None:
        fresh = list(range(self.next, self.next + n))
        self.next += n
        assert ids(self.spool.append([alert(number) for number in fresh])) == fresh
        self.expected += fresh

    @rule(n=st.integers(0, 10))
    def advance(self, n: int) -> None:
        n = min(n, len(self.expected))
        self.spool.advance(n)
        del self.expected[:n]

    @rule()
    def restart(self) -> None:
        self.spool = spool(self.folder)

    @rule(cut=st.integers(1, 30))
    def crash_while_writing(self, cut: int) -> None:
        """The end of a record that was not acknowledged."""
        torn = msgspec.msgpack.encode(alert(-1))[:-cut] or b"\x00"
        files = segments(self.folder)
        if files:
            with files[-1].open("ab") as file:
                file.write(b"\x00\x00\x00\xff" + torn)
            self.restart()

    @invariant()
    def the_same_alerts_wait(self) -> None:
        assert ids(self.spool.peek(10**6)) == self.expected
        assert len(self.spool) == len(self.expected)
        assert self.spool.spoilt == 0


def test_any_order_of_writing_sending_and_crashing_keeps_what_waits(tmp_path: Path) -> None:
    SpoolMachine.root = tmp_path
    machine = SpoolMachine.TestCase
    machine.settings = settings(max_examples=15, stateful_step_count=25, suppress_health_check=list(HealthCheck))
    machine().runTest()


@given(st.lists(st.binary(min_size=DIGEST_BYTES, max_size=DIGEST_BYTES), max_size=60))
@settings(max_examples=30)
def test_the_latest_digests_are_remembered_over_a_restart(
    tmp_path_factory: pytest.TempPathFactory, digests: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("digests") / "seen"
    for digest in digests:
        Seen(path, horizon=5).add([digest])
    latest = list(dict.fromkeys(reversed(digests)))[:3]
    assert all(digest in Seen(path, horizon=5) for digest in latest if digests.count(digest) == 1)
    assert path.stat().st_size <= 11 * DIGEST_BYTES if digests else True


def test_half_a_digest_at_the_end_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "seen"
    Seen(path).add([b"a" * DIGEST_BYTES])
    path.write_bytes(path.read_bytes() + b"half")
    seen = Seen(path)
    seen.add([b"b" * DIGEST_BYTES])
    again = Seen(path)
    assert b"a" * DIGEST_BYTES in again
    assert b"b" * DIGEST_BYTES in again
