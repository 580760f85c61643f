"""`tocsin run` in mode act over a real Kafka, killed at random moments from verdict to promotion: the same end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from acting_daemon import BATCH, complete, stage
from kafka_broker import KafkaBroker
from scenario import World

from rollback.audit.log import FILE_NAME
from rollback.audit.verification import verify

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(1500)]

KILLS = int(os.environ.get("KILLS", "24"))  # `make soak` kills far more often
APPROVED_FROM = 3 * KILLS // 4
"""Lives before that see no approval, so that there is something left to be killed at."""


def test_kills_from_verdict_to_promotion_lead_to_the_same_end(
    kafka: KafkaBroker, topic: Callable[..., str], world: World, tmp_path: Path
) -> None:
    with stage(kafka, topic("calm"), tmp_path / "calm", world) as (calm, traffic):
        calm.daemon.start()
        complete(calm, traffic)
        expected = calm.end()
    assert expected["moves"] == [("quarantine", None, "2"), ("rollback", "2", "1"), ("promote", "1", "3")]
    assert expected["versions"] == ["1", "2", "3"]
    assert expected["phases"] == {"rollback": "served", "retraining": "made", "promotion": "served"}
    rng = np.random.default_rng(9)
    with stage(kafka, topic("crash"), tmp_path / "crash", world) as (crashed, traffic):
        for life in range(KILLS):
            traffic.allowed = (life + 1) * BATCH * 25 // KILLS
            crashed.daemon.start()
            # while it starts, or at work: after it listens
            if rng.random() < 0.3:
                time.sleep(rng.uniform(0.2, 2.0))
            else:
                crashed.daemon.says('"event": "listening"')
                time.sleep(rng.uniform(0.0, 4.0))
            assert crashed.daemon.process.poll() is None, f"it ended by itself:\n{crashed.daemon.log()}"
            crashed.daemon.kill()
            if life >= APPROVED_FROM:
                crashed.approve()
        traffic.allowed = 10**9
        crashed.daemon.start()
        complete(crashed, traffic)
        assert crashed.end() == expected
        assert crashed.daemon.held() == list(range(traffic.sent))
        kinds = verify(crashed.daemon.state / FILE_NAME).records
    assert kinds > KILLS
