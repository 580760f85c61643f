"""Traces of the loop's stages: kept in memory, or sent to a collector as OpenTelemetry's own protobuf says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http_receivers import Asked, HttpReceiverFake, Said
from installed import installed

from monitor.settings.config import load_config
from monitor.settings.problems import ConfigError
from monitor.watching.otlp import OtlpStages
from monitor.watching.stages import NoStages, RememberedStages

ROOT = Path(__file__).parent.parent.parent
SENDS = """
import sys, time
from monitor.watching.otlp import OtlpStages
stages = OtlpStages(sys.argv[1], float(sys.argv[2]), "1.2.3")
try:
    with stages.stage("turn", chunks=2):
        with stages.stage("judge", model="nids\\n", version="2", window=7, events=250):
            raise ValueError("what an event said")
except ValueError:
    pass
begun = time.monotonic()
stages.close()
print(time.monotonic() - begun)
"""
READS = """
import sys
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
print(MessageToJson(ExportTraceServiceRequest.FromString(sys.stdin.buffer.read())))
"""


def sent(endpoint: str, share: float = 1.0) -> float:
    """Let a process with the extra trace a turn; how long its end took, in seconds."""
    (packages,) = installed("tracing").parent.glob("lib/python*/site-packages")
    environ = {"PATH": os.defpath, "PYTHONPATH": f"{ROOT}:{packages}"}
    command = [sys.executable, "-c", SENDS, endpoint, str(share)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def spans(body: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The resource's attributes and the spans of what was sent, read by OpenTelemetry's own definitions."""
    python = installed("tracing") / "python"
    done = subprocess.run([python, "-c", READS], input=body, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    (of,) = json.loads(done.stdout)["resourceSpans"]
    (scope,) = of["scopeSpans"]
    return attributes(of["resource"]), scope["spans"]


def attributes(of: dict[str, Any]) -> dict[str, Any]:
    return {each["key"]: next(iter(each["value"].values())) for each in of.get("attributes", ())}


@pytest.fixture
def collector() -> Iterator[HttpReceiverFake]:
    with HttpReceiverFake(lambda _: Said(200)) as receiver:
        yield receiver


def test_a_collector_gets_the_stages_with_their_parts_and_nothing_of_what_an_error_said(
    collector: HttpReceiverFake,
) -> None:
    sent(f"http://127.0.0.1:{collector.port}/v1/traces")
    (asked,) = collector.asked
    assert (asked.path, asked.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
    resource, found = spans(asked.body)
    assert (resource["service.name"], resource["service.version"]) == ("tocsin", "1.2.3")
    by_name = {span["name"]: span for span in found}
    assert by_name.keys() == {"turn", "judge"}
    assert by_name["judge"]["parentSpanId"] == by_name["turn"]["spanId"]
    assert attributes(by_name["judge"]) == {"model": "nids\n", "version": "2", "window": "7", "events": "250"}
    assert int(by_name["judge"]["endTimeUnixNano"]) >= int(by_name["judge"]["startTimeUnixNano"])
    assert b"what an event said" not in asked.body


def test_a_share_of_the_turns_is_traced_with_all_of_their_parts_or_none(collector: HttpReceiverFake) -> None:
    sent(f"http://127.0.0.1:{collector.port}/v1/traces", share=1e-9)
    assert collector.asked == []


def test_a_collector_that_hangs_holds_up_the_end_of_the_process_for_seconds_only() -> None:
    def hang(_: Asked) -> Said:
        time.sleep(20.0)
        return Said(200)

    with HttpReceiverFake(hang) as collector:
        assert sent(f"http://127.0.0.1:{collector.port}/v1/traces") < 7.0


def test_without_the_extra_the_configuration_is_refused_with_what_to_install() -> None:
    with pytest.raises(ConfigError, match=re.escape('tracing.endpoint: needs more packages: pip install "tocsin[')):
        OtlpStages("http://127.0.0.1:1/v1/traces", 1.0, "1.2.3")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ("{endpoint: 'collector:4318'}", "tracing.endpoint"),
        ("{endpoint: 'http://user:secret@collector:4318/v1/traces'}", "tracing.endpoint"),
        ("{endpoint: 'http://collector:4318/v1/traces?api-key=secret'}", "tracing.endpoint"),
        ("{share: 0}", "tracing.share"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, wrong: str, field: str) -> None:
    path = tmp_path / "tocsin.yaml"
    path.write_text(f"tracing: {wrong}\n")
    with pytest.raises(ConfigError) as refused:
        load_config(path, {})
    assert [problem.field for problem in refused.value.problems] == [field]
    assert "secret@" not in str(refused.value)


def test_nobody_is_told_unless_it_is_configured() -> None:
    stages = NoStages()
    with stages.stage("turn") as outer, stages.stage("judge", model="nids") as inner:
        assert outer is inner is None


def test_in_memory_a_stage_knows_what_it_is_a_part_of_and_whether_it_failed() -> None:
    now = iter((10.0, 12.0, 15.0, 20.0))
    stages = RememberedStages(lambda: next(now))
    with pytest.raises(KeyError), stages.stage("turn"), stages.stage("judge", model="nids"):
        raise KeyError
    assert [(s.name, s.within, s.about, s.seconds, s.failed) for s in stages.stages] == [
        ("turn", None, {}, 10.0, True),
        ("judge", "turn", {"model": "nids"}, 3.0, True),
    ]
