"""What is done from time to time, and how often."""

from __future__ import annotations

from pydantic import Field

from monitor.settings.section import Section


class ScheduleConfig(Section):
    """Periods in seconds; 0 = never."""

    canary_probe_seconds: float = Field(default=60.0, ge=0)
    """Every endpoint is asked what it serves, with the canaries of the version that should."""
    registry_verification_seconds: float = Field(default=3600.0, ge=0)
    """Every version is checked against its signature, and the pointers against the history."""
    new_versions_seconds: float = Field(default=60.0, ge=0)
    """Versions that were registered since the serving one are looked into: their training buffers, before any event.

    Versions that were not there before are verified, and their digests kept in the audit log."""
    audit_checkpoint_seconds: float = Field(default=60.0, ge=0)
    """The audit log's signed checkpoint is sent to `kafka.audit_topic`, where it has changed."""
    hunt_results_seconds: float = Field(default=10.0, ge=0)
    """What `tocsin hunt` has found is told by the incident, and kept in the audit log."""
    trusted_keys_seconds: float = Field(default=60.0, ge=0)
    """The files of signing keys are read again, and what has changed is kept in the audit log."""
    housekeeping_seconds: float = Field(default=86_400.0, ge=0)
    """What is over is removed from state_dir."""
    keep_retrainings_days: float = Field(default=30.0, gt=0)
    """So long after a retraining its weights and log are kept; what it removed and how it was judged stay for good."""
