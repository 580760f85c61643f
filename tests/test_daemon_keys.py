"""A real daemon with keys of its own: it notices a revocation while it runs, and refuses to start with that key."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from daemon_process import Daemon, records, wait_until, write_config
from in_process import Run
from kafka_broker import KafkaBroker
from scenario import World

from rollback.audit.log import FILE_NAME
from rollback.signing.trust_list import read_trust_list, revoked, write_trust_list

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture
def config(kafka: KafkaBroker, topic: Callable[..., str], world: World, tmp_path: Path, run: Run) -> Path:
    """Trusts what signed the registry and a key of its own, `one`; `two` is there as well."""
    registry, keys, name = tmp_path / "registry", tmp_path / "keys", topic("keys")
    shutil.copytree(world.root / "registry", registry, symlinks=True)
    for role in ("feedback", "trusted", "vetting"):
        kafka.create_topic(f"{name}.{role}")
    for each in ("one", "two"):
        assert run("keys", "generate", "--out", keys, "--name", each, "--trust", keys / "trust.json")[0] == 0
    trusted = [str(registry / ".keys" / "signing.pub.pem"), str(keys / "trust.json")]
    return write_config(
        tmp_path,
        registry,
        kafka.bootstrap,
        name,
        signing={"trusted_keys": trusted, "key_file": str(keys / "one.pem")},
        schedule={"trusted_keys_seconds": 0.3},
    )


def test_a_revocation_is_noted_at_once_and_the_log_goes_on_with_another_key(config: Path, run: Run) -> None:
    trust, state = config.parent / "keys" / "trust.json", config.parent / "state"
    with Daemon(config).start() as daemon:
        wait_until(lambda: "start" in kinds(state), "the start")
        write_trust_list(trust, revoked(read_trust_list(trust), "one", datetime.now(UTC), "ann", "stolen"))
        wait_until(lambda: "keys" in kinds(state), "the record of the revocation")
        assert daemon.stop() == 0
    (start,) = (r["body"] for r in records(state / FILE_NAME) if r["kind"] == "start")
    (noted,) = (r["body"] for r in records(state / FILE_NAME) if r["kind"] == "keys")
    assert start["checkpoint_key"] == start["signing_key"]
    (change,) = noted["changed"]
    assert change.startswith(f"key {start['signing_key']} is not believed any more: revoked ")
    code, _, err = run("run", "--config", config)
    assert (code, "was revoked" in err, "tocsin audit reseal" in err) == (78, True, True)
    config.write_text(config.read_text().replace("one.pem", "two.pem"))
    old = config.parent / "keys" / "one.pub.pem"
    assert run("audit", "reseal", state, "--old-key", old, "--config", config, "--reason", "stolen")[0] == 0
    with Daemon(config).start() as again:
        wait_until(lambda: kinds(state).count("start") == 2, "the second start")
        assert again.stop() == 0
    code, out, _ = run("audit", "verify", state, "--config", config)
    assert (code, "chain intact" in out) == (0, True)


def kinds(state: Path) -> list[Any]:
    return [record["kind"] for record in records(state / FILE_NAME)]
