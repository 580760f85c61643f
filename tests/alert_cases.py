"""What each alert fires on, and a near miss that it is silent about: series of Prometheus' own test notation.

Every series has a sample a minute for two hours; `0x85 1x35` is 0 for 85 minutes and then 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

Given: TypeAlias = Mapping[str, str]

WHO: Final = 'job="tocsin", instance="a:9464"'
WHAT: Final = f'model="nids", version="2", {WHO}'
MODEL: Final = f'model="nids", {WHO}'
EVENTS: Final = f"tocsin_events_total{{{WHAT}}}"
SINK: Final = f'sink="siem", {WHO}'
SINK_OF_NEW: Final = 'sink="siem", job="tocsin", instance="new:9464"'
"""That of a process which starts ten minutes before alerts are looked at."""
LAG: Final = f'tocsin_source_lag_messages{{topic="soc.inference", partition="0", {WHO}}}'
UNREADABLE: Final = f'tocsin_quarantined_total{{model="-", reason="not_json", {WHO}}}'
ACTED: Final = f'tocsin_actions_total{{action="rollback", outcome="running", {MODEL}}}'
CANARIES: Final = f'tocsin_endpoint_canaries_timestamp_seconds{{endpoint="a:8080", {MODEL}}}'
PERIOD: Final = f'tocsin_schedule_period_seconds{{task="canary_probe", {WHO}}}'
SUCCESS: Final = f'tocsin_schedule_last_success_timestamp_seconds{{task="canary_probe", {WHO}}}'
JUDGED: Final = f"tocsin_window_judged_timestamp_seconds{{{WHAT}}}"
RECORDS: Final = f"tocsin_audit_records{{{WHO}}}"
SIGNED: Final = f"tocsin_audit_signed_records{{{WHO}}}"
STARTED: Final = f"process_start_time_seconds{{{WHO}}}"
SIZE: Final = f"tocsin_audit_size_bytes{{{WHO}}}"
BUILD: Final = f'tocsin_build_info{{version="1", {WHO}}}'
CHECKPOINT: Final = f"tocsin_checkpoint_age_seconds{{{WHO}}}"
JUDGED_OF_OTHER: Final = f'tocsin_window_judged_timestamp_seconds{{model="mail", version="2", {WHO}}}'
OPEN: Final = f"tocsin_incidents_open{{{MODEL}}}"
FLOWING, ALWAYS, NEVER = "0+100x120", "1x120", "0x120"
NOW: Final = "0+60x120"
"""A time stamp that is always of this minute."""


def verdict(family: str) -> str:
    """The series of a family of verdicts."""
    return f'tocsin_verdict{{family="{family}", {WHAT}}}'


def action(kind: str, outcome: str) -> str:
    """The series of an action's outcome."""
    return f'tocsin_actions_total{{action="{kind}", outcome="{outcome}", {MODEL}}}'


FIRES: Final[Mapping[str, Given]] = {
    "TocsinPoisoning": {verdict("poisoning"): "0 1x120", EVENTS: FLOWING},
    "TocsinEvasion": {verdict("evasion"): "0 1x120", EVENTS: FLOWING},
    "TocsinFault": {verdict("fault"): "0 1x120", EVENTS: FLOWING},
    "TocsinAsksForLabels": {verdict("inconclusive"): "0 1x120", EVENTS: FLOWING},
    "TocsinResponseHalted": {action("rollback", "halted"): "0x85 1x35"},
    "TocsinWaitsForPerson": {f"tocsin_responses_waiting{{{MODEL}}}": ALWAYS},
    "TocsinEndpointServesAnother": {f'tocsin_endpoint_ok{{endpoint="a:8080", {MODEL}}}': "1 0x120"},
    "TocsinResponsesHeld": {f"tocsin_responses_held{{{WHO}}}": ALWAYS},
    "TocsinCanariesStale": {CANARIES: "0+60x60 3600x60", PERIOD: "60x120"},
    "TocsinCandidateRejected": {action("retraining", "rejected"): "0x105 1x15"},
    "TocsinRegistryTampered": {f"tocsin_registry_verified{{{WHAT}}}": "1 0x120"},
    "TocsinAbsent": {"tocsin_something_else": ALWAYS},
    "TocsinStuck": {CHECKPOINT: NOW, LAG: "5x120"},
    "TocsinDetectorFailed": {
        f'tocsin_detector_status{{detector="prediction_entropy", status="error", {WHAT}}}': ALWAYS,
        EVENTS: FLOWING,
    },
    "TocsinUnreadableMessages": {UNREADABLE: "0+2x120", EVENTS: FLOWING},
    "TocsinLinesDropped": {f"tocsin_lines_dropped_total{{{WHO}}}": "0+1x120"},
    "TocsinSourceErrors": {f"tocsin_source_errors_total{{{WHO}}}": "0+2x120"},
    "TocsinBehind": {LAG: FLOWING, EVENTS: FLOWING},
    "TocsinAlertsNotTaken": {
        f"tocsin_alerts_waiting{{{SINK}}}": "3x120",
        f"tocsin_alerts_last_success_timestamp_seconds{{{SINK}}}": NEVER,
    },
    "TocsinAlertsDropped": {f'tocsin_alerts_dropped_total{{reason="refused", {SINK}}}': "0x85 1x35"},
    "TocsinDeadLetters": {f"tocsin_alerts_dead_letter_bytes{{{SINK}}}": "800x120"},
    "TocsinCircuitOpen": {f"tocsin_alerts_circuit_state{{{SINK}}}": "2x120"},
    "TocsinSinkBacklog": {f"tocsin_alerts_waiting{{{SINK}}}": "0+5x120"},
    "TocsinNoEvents": {OPEN: NEVER, EVENTS: "0+100x40 4000x80"},
    "TocsinWindowsStale": {JUDGED: "0+60x30 1800x90", EVENTS: FLOWING},
    "TocsinAuditNotAdvancing": {ACTED: "0+1x120", SIZE: "900x120", STARTED: NEVER},
    "TocsinAuditUnsigned": {RECORDS: "0+1x120", SIGNED: "0+1x60 60x60"},
    "TocsinScheduleStale": {SUCCESS: "0+60x60 3600x60", PERIOD: "60x120"},
    "TocsinRestarts": {STARTED: "0x80 1+600x40", BUILD: ALWAYS},
}
SILENT: Final[Mapping[str, Given]] = {
    "TocsinPoisoning": {verdict("poisoning"): ALWAYS, EVENTS: "0+100x30 3000x90"},
    "TocsinEvasion": {verdict("evasion"): "1x60 0x60", EVENTS: FLOWING},
    "TocsinFault": {verdict("fault"): "0x100 1x20", EVENTS: FLOWING},
    "TocsinAsksForLabels": {verdict("inconclusive"): "0x60 1x60", EVENTS: FLOWING},
    "TocsinResponseHalted": {action("rollback", "halted"): ALWAYS},
    "TocsinWaitsForPerson": {f"tocsin_responses_waiting{{{MODEL}}}": "0x100 1x20"},
    "TocsinEndpointServesAnother": {f'tocsin_endpoint_ok{{endpoint="a:8080", {MODEL}}}': "1x105 0x15"},
    "TocsinResponsesHeld": {f"tocsin_responses_held{{{WHO}}}": "0x60 1x60"},
    "TocsinCanariesStale": {CANARIES: "0+60x60 3600x60", PERIOD: "1200x120"},
    "TocsinCandidateRejected": {action("retraining", "done"): "0x105 1x15"},
    "TocsinRegistryTampered": {
        f"tocsin_registry_verified{{{WHAT}}}": ALWAYS,
        f"tocsin_registry_pointers_ok{{{MODEL}}}": ALWAYS,
    },
    "TocsinAbsent": {BUILD: "1x100 _x5 1x15"},
    "TocsinStuck": {CHECKPOINT: NOW, LAG: NEVER},
    "TocsinDetectorFailed": {
        f'tocsin_detector_status{{detector="prediction_entropy", status="error", {WHAT}}}': "1x60 0x60",
        EVENTS: FLOWING,
    },
    "TocsinUnreadableMessages": {UNREADABLE: "0+1x120", EVENTS: "0+200x120"},
    "TocsinLinesDropped": {f"tocsin_lines_dropped_total{{{WHO}}}": "9x120"},
    "TocsinSourceErrors": {f"tocsin_source_errors_total{{{WHO}}}": "0x100 9x20"},
    "TocsinBehind": {LAG: "900x120", EVENTS: FLOWING},
    "TocsinAlertsNotTaken": {
        f"tocsin_alerts_waiting{{{SINK}}}": "3x120",
        f"tocsin_alerts_last_success_timestamp_seconds{{{SINK}}}": NOW,
        f"tocsin_alerts_waiting{{{SINK_OF_NEW}}}": "3x120",
        f"tocsin_alerts_last_success_timestamp_seconds{{{SINK_OF_NEW}}}": NEVER,
        'process_start_time_seconds{job="tocsin", instance="new:9464"}': "6000x120",
    },
    "TocsinAlertsDropped": {
        f'tocsin_alerts_dropped_total{{reason="refused", {SINK}}}': "7x120",
        f'tocsin_alerts_dropped_total{{reason="muted", {SINK}}}': "0+5x120",
    },
    "TocsinDeadLetters": {f"tocsin_alerts_dead_letter_bytes{{{SINK}}}": "0x60 800x60"},
    "TocsinCircuitOpen": {f"tocsin_alerts_circuit_state{{{SINK}}}": "2x60 1x60"},
    "TocsinSinkBacklog": {f"tocsin_alerts_waiting{{{SINK}}}": "900-5x120"},
    "TocsinNoEvents": {OPEN: NEVER, EVENTS: "0+100x100 10000x20"},
    "TocsinWindowsStale": {JUDGED: "0+60x30 1800x90", EVENTS: "50x120"},
    "TocsinAuditNotAdvancing": {ACTED: "0+1x120", SIZE: "900+200x120", STARTED: NEVER},
    "TocsinAuditUnsigned": {RECORDS: "0+1x120", SIGNED: NEVER},
    "TocsinScheduleStale": {SUCCESS: NOW, PERIOD: "60x120"},
    "TocsinRestarts": {STARTED: "0x100 1+600x2 1201x18", BUILD: ALWAYS},
}
QUIET: Final[Given] = {
    BUILD: ALWAYS,
    verdict("stable"): ALWAYS,
    verdict("drift"): ALWAYS,
    verdict("poisoning"): NEVER,
    EVENTS: FLOWING,
    OPEN: NEVER,
    JUDGED: NOW,
    LAG: NEVER,
    UNREADABLE: "3x120",
    CHECKPOINT: NOW,
    STARTED: NEVER,
    f"tocsin_lines_dropped_total{{{WHO}}}": NEVER,
    f"tocsin_source_errors_total{{{WHO}}}": ALWAYS,
    f"tocsin_responses_held{{{WHO}}}": NEVER,
    f"tocsin_responses_waiting{{{MODEL}}}": NEVER,
    action("rollback", "halted"): ALWAYS,
    action("retraining", "rejected"): ALWAYS,
    f'tocsin_endpoint_ok{{endpoint="a:8080", {MODEL}}}': ALWAYS,
    CANARIES: NOW,
    PERIOD: "60x120",
    SUCCESS: NOW,
    f"tocsin_registry_verified{{{WHAT}}}": ALWAYS,
    f"tocsin_registry_pointers_ok{{{MODEL}}}": ALWAYS,
    RECORDS: "9x120",
    SIGNED: "9x120",
    SIZE: "900x120",
    f"tocsin_alerts_waiting{{{SINK}}}": NEVER,
    f"tocsin_alerts_circuit_state{{{SINK}}}": NEVER,
    f"tocsin_alerts_dead_letter_bytes{{{SINK}}}": NEVER,
    f"tocsin_alerts_last_success_timestamp_seconds{{{SINK}}}": NEVER,
    f'tocsin_alerts_dropped_total{{reason="flood", {SINK}}}': NEVER,
}
"""Two hours in which nothing is wrong; what went wrong before them is not told again."""
BESIDE: Final[Given] = {series.replace('"a:9464"', '"b:9464"'): values for series, values in QUIET.items()}
"""Another process of the same job, that watches a model of the same name, and at which nothing is wrong."""
ALSO_FIRES: Final[Mapping[str, tuple[str, Given]]] = {
    "windows that never fill since the start": (
        "TocsinWindowsStale",
        {OPEN: NEVER, EVENTS: FLOWING, STARTED: NEVER, JUDGED_OF_OTHER: NOW},
    ),
    "an audit log that was removed": (
        "TocsinAuditNotAdvancing",
        {ACTED: "0+1x120", SIZE: "900x60 0x60", STARTED: NEVER},
    ),
    "a task that has never succeeded": ("TocsinScheduleStale", {SUCCESS: NEVER, PERIOD: "60x120", STARTED: NEVER}),
    "a pointer that nobody accounts for": (
        "TocsinRegistryTampered",
        {f"tocsin_registry_pointers_ok{{{MODEL}}}": NEVER},
    ),
}
"""What an alert is for as well: its name by the case."""
ALSO_SILENT: Final[Mapping[str, tuple[str, Given]]] = {
    "no window in the first hour after a start": (
        "TocsinWindowsStale",
        {OPEN: NEVER, EVENTS: FLOWING, STARTED: "4800x120"},
    ),
    "a task of a day after a start": ("TocsinScheduleStale", {SUCCESS: NEVER, PERIOD: "86400x120", STARTED: NEVER}),
    "a detector of a version that was replaced": (
        "TocsinDetectorFailed",
        {
            f'tocsin_detector_status{{detector="prediction_entropy", status="error", {WHAT}}}': ALWAYS,
            EVENTS: "0+100x30 3000x90",
        },
    ),
    "alerts that wait for minutes after a quiet time": (
        "TocsinAlertsNotTaken",
        {
            f"tocsin_alerts_waiting{{{SINK}}}": "0x100 3x20",
            f"tocsin_alerts_last_success_timestamp_seconds{{{SINK}}}": "60x120",
            STARTED: NEVER,
        },
    ),
    "a Tocsin that has just come back": ("TocsinAbsent", {BUILD: "_x108 1x12"}),
}
"""What it is not for, though it is near."""
