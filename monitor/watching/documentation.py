"""Writes `docs/metrics.md`: `python -m monitor.watching.documentation docs/metrics.md`; a test checks it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from monitor.watching.catalogue import GPUS, LABELS, Described, catalogue

START: Final = """\
# Metrics

Written from the code by `make schemas`; do not edit. Names and labels are public: one is changed only with an entry in
`CHANGELOG.md`. They are served at `http.listen` (port 9464), `/metrics`, as Prometheus' text or, to whoever accepts
it, as OpenMetrics 1.0. Rules are in `prometheus/rules`, what to do about each alert in [runbooks](runbooks/README.md),
dashboards in `grafana/dashboards`.

- What has not happened yet is 0 and not absent, where the label values are known before.
- A gauge of a window holds what the latest window of that model version showed; a verdict stays until the next one.
  Ask for `tocsin_events_total` beside it to see whether the version still answers events.
- Times are seconds since the epoch (`_timestamp_seconds`): an age is `time() - ...`.
- As OpenMetrics, `tocsin_incidents_total`, `tocsin_actions_total` and `tocsin_response_duration_seconds` have exemplars
  with the label `incident`: the uid that `tocsin incidents show` takes. Prometheus keeps them with
  `--enable-feature=exemplar-storage`.
- Where the time of the loop goes, stage by stage, is told by [traces](tracing.md).
- The number of series is bounded: by the configuration, the registry, and fixed sets of words. Whoever sends events
  cannot make a label value.
"""
PROCESS: Final = """\
Beside these, the process shows `process_cpu_seconds_total`, `process_resident_memory_bytes`,
`process_virtual_memory_bytes`, `process_start_time_seconds`, `process_open_fds` and `process_max_fds`, as every
program does that uses Prometheus' library. GPUs are shown where `nvidia-smi` is installed.
"""


def document() -> str:
    """The whole page."""
    return "\n".join([START, *_sections(), *_labels()])


def _sections() -> Iterator[str]:
    for heading, found in catalogue().items():
        yield f"## {heading}\n"
        if heading == GPUS:
            yield PROCESS
        yield "| Name | Type | Labels | Meaning |\n|---|---|---|---|"
        yield from (_row(each) for each in found)
        yield ""


def _row(each: Described) -> str:
    labels = ", ".join(f"`{label}`" for label in each.labels)
    return f"| `{each.name}` | {each.kind} | {labels} | {each.text} |"


def _labels() -> Iterator[str]:
    yield "## Labels\n\n| Label | Holds |\n|---|---|"
    yield from (f"| `{label}` | {text} |" for label, text in LABELS.items())
    yield ""


def main(arguments: list[str]) -> None:
    """Write the page to the file that is named."""
    if len(arguments) != 1:
        sys.exit("usage: python -m monitor.watching.documentation FILE")
    Path(arguments[0]).write_text(document(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
