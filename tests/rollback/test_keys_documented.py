"""What docs/rollback.md says about keys, done word for word: the commands and the configuration as they stand there."""

from __future__ import annotations

import re
import shlex
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from in_process import Run
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.linear_model import LogisticRegression

from monitor.audit_keys import audit_keys
from monitor.audited import FindingsBook
from monitor.cli.validate import check_for_run
from monitor.daemon import open_configured
from monitor.jobs.registry_verification import check_registry
from monitor.key_use import START, key_ids
from monitor.settings.config import load_config
from rollback.audit.anchors import Anchors
from rollback.audit.log import FILE_NAME, AuditLog, read_records
from rollback.audit.reseal import RESEALED

GUIDE = (Path(__file__).parents[2] / "docs" / "rollback.md").read_text(encoding="utf-8")
KEYS = re.search(r"\n## Keys\n(.*?)\n## ", GUIDE, re.DOTALL)[1]  # type: ignore[index]  # else nothing is documented
BLOCK = re.compile(r"```(sh|yaml)\n(.*?)```", re.DOTALL)
BARE = """
registry: registry
state_dir: state
kafka: {bootstrap_servers: ["127.0.0.1:1"], inference_topic: t}
models: {nids: {}}
"""
Follow = Callable[[str], str]


def section(title: str) -> str:
    """A part of the chapter about keys."""
    return KEYS.split(f"### {title}\n")[1].partition("\n### ")[0]


def start(config: Path) -> None:
    """What `tocsin run` does with keys, log and registry, without Kafka."""
    settings = load_config(config, {})
    check_for_run(settings, config)
    path = settings.state_dir / FILE_NAME
    log = AuditLog(path, time.time, audit_keys(settings))
    log.append(START, key_ids(settings))
    anchors = Anchors(read_records(path))
    registry = open_configured(settings, "nids", anchors)
    found = check_registry("nids", registry, 0.0)
    FindingsBook(anchors, log).checked(found)
    log.close()
    refused = {v: why for v, why in found.failed.items() if "was revoked" not in why}
    assert (refused, found.pointers, found.known_good_failed) == ({}, (), False)


@pytest.fixture
def follow(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Follow:
    """Does what a section says, in an empty folder with a model and its reference; returns all that was printed."""
    monkeypatch.chdir(tmp_path)
    Path("tocsin.yaml").write_text(BARE)
    write_model()

    def do(title: str) -> str:
        said = []
        for kind, text in BLOCK.findall(section(title)):
            if kind == "yaml":
                Path("tocsin.yaml").write_text(yaml.safe_dump({**yaml.safe_load(BARE), **yaml.safe_load(text)}))
                continue
            for line in text.splitlines():
                program, *arguments = shlex.split(line)
                assert program == "tocsin"
                if arguments[0] == "run":
                    start(Path(arguments[2]))
                    continue
                code, out, err = run(*arguments)
                assert code == 0, (line, err)
                said.append(out + err)
        return "\n".join(said)

    return do


def write_model() -> None:
    rng = np.random.default_rng(5)
    y = rng.integers(0, 2, 200)
    x = (rng.normal(size=(200, 2)) + 2.0 * y[:, None]).astype(np.float32)
    names = np.array(["attack", "benign"])[y]
    lines = [f"{float(a)!r},{float(b)!r},{c}" for (a, b), c in zip(x, names, strict=True)]
    Path("flows.csv").write_text("\n".join(["bytes,packets,class", *lines]) + "\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = to_onnx(LogisticRegression().fit(x, names), initial_types=[("x", FloatTensorType([None, 2]))])
    Path("nids.onnx").write_bytes(made.SerializeToString())


def kinds() -> list[str]:
    return [record.kind for record in read_records(Path("state") / FILE_NAME)]


def test_keys_are_set_up_and_a_stolen_one_is_replaced(follow: Follow, run: Run) -> None:
    follow("Set up")
    Path("kept").write_bytes(Path("state/audit.ndjson.checkpoint").read_bytes())
    said = follow("A key that was stolen")
    assert "no --checkpoint was given" in said
    assert "serving          2" in said
    assert kinds().count(RESEALED) == 1
    both = [o for n in ("soc-2027", "soc-2026") for o in ("--trusted-key", f"keys/{n}.pub.pem")]
    assert run("audit", "verify", "state", *both, "--checkpoint", "kept")[0] == 0
    code, _, err = run("audit", "verify", "state", "--config", "tocsin.yaml", "--checkpoint", "kept")
    assert (code, "needs the old public key: give it and the new with --trusted-key" in err) == (1, True)


def test_a_key_is_changed_before_it_expires(follow: Follow) -> None:
    follow("Set up")
    follow("Change a key")
    before, after = (r.body["signing_key"] for r in read_records(Path("state") / FILE_NAME) if r.kind == START)
    assert before != after


def test_trial_keys_are_left_behind(follow: Follow, run: Run) -> None:
    add = ("registry", "add", "--registry", "registry", "--name", "nids", "--onnx", "nids.onnx")
    assert run(*add, "--reference", "flows.csv", "--label", "class")[0] == 0
    start(Path("tocsin.yaml"))
    code, out, err = run("audit", "verify", "state", "--config", "tocsin.yaml")
    assert (code, "3 of them signed" in out) == (0, True)
    assert "state/.keys holds the keys that this is checked with" in err
    follow("From trial keys")
    assert RESEALED in kinds()
    code, _, err = run("registry", "verify", "--registry", "registry", "--name", "nids", "--trusted-key",
                       "keys/soc-2026.pub.pem")  # fmt: skip
    assert (code, "no valid signature by a trusted key" in err) == (1, True)


def test_trusted_keys_alone_leave_the_log_to_a_trial_key_which_validate_says(follow: Follow, run: Run) -> None:
    follow("Set up")
    Path("tocsin.yaml").write_text(BARE + "state_dir: other\nsigning: {trusted_keys: [keys/trust.json]}\n".replace(
        "state_dir: other\n", ""))  # fmt: skip
    for file in Path("state").glob("audit.*"):
        file.unlink()
    start(Path("tocsin.yaml"))
    assert run("audit", "verify", "state", "--config", "tocsin.yaml")[0] == 0
    code, out, _ = run("validate", "--config", "tocsin.yaml")
    assert (code, "note: signing.key_file is missing" in out) == (0, True)


def test_a_registry_without_trial_keys_says_that_a_key_must_be_given(follow: Follow, run: Run) -> None:
    follow("Set up")
    code, _, err = run("registry", "verify", "--registry", "registry", "--name", "nids")
    assert (code, "trusted: none; give --trusted-key, or set signing.trusted_keys" in err) == (1, True)
