"""What `tocsin doctor` finds on disk, at model servers and sinks, and what it says follows from it."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
from tiny_registry import DRAFT, NAME, make_registry

from monitor.cli.main import main
from monitor.demo.server.http import JsonServer
from monitor.demo.server.protocol import Reply, Request
from monitor.demo.server.server import ModelServer
from monitor.doctor.act import would_do
from monitor.doctor.check import Check, Result, ok, run_checks
from monitor.doctor.clock import check_clock
from monitor.doctor.filesystem import filesystem_of
from monitor.doctor.gpu import ask_torch, check_gpu
from monitor.doctor.level import level_of
from monitor.doctor.packages import check_packages
from monitor.doctor.registry import check_models, open_registry
from monitor.doctor.servers import check_servers
from monitor.doctor.sinks import check_sink
from monitor.doctor.state import check_audit, check_state
from monitor.settings.config import Config, load_config
from rollback.audit.log import AuditLog
from rollback.registry.file import FileRegistry
from rollback.registry.registry import Buffer, Pointers
from rollback.response.desk import FolderDesk, House
from rollback.signing.keys import Keys, new_signing_key


class Site:
    """A configuration with a registry of two versions; version 1 serves, and nobody has vouched for it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings: dict[str, Any] = {
            "registry": str(root / "registry"),
            "state_dir": str(root / "state"),
            "kafka": {
                "bootstrap_servers": ["127.0.0.1:1"],
                "inference_topic": "soc.inference",
                "trusted_feedback_topic": "soc.vetted",
            },
            "models": {NAME: {"trusted_origins": ["sandbox"], "retrain": {"enabled": False}}},
        }
        self.registry = FileRegistry(
            root / "registry", NAME, Keys.trial(root / "registry", make=True), clock=lambda: 0.0
        )
        (root / "state").mkdir()

    @property
    def model(self) -> dict[str, Any]:
        model: dict[str, Any] = self.settings["models"][NAME]
        return model

    def add(self, version: str, buffer: Buffer | None = None, *, onnx: bool = True) -> None:
        files = dict(make_registry().load(version).files)
        kept = {n: files[n] for n in ("model.onnx", "reference.npz", "canaries.npz") if onnx or n == "reference.npz"}
        draft = DRAFT if onnx else type(DRAFT)(classes=DRAFT.classes, features=DRAFT.features)
        self.registry.add(draft, kept, by="test", reason="test", buffer=buffer)

    def promote(self, version: str, *, known_good: bool = False) -> None:
        now = self.registry.pointers().serving
        self.registry.promote(version, expected=now, known_good=known_good, by="test", reason="test")

    def path(self) -> Path:
        path = self.root / "tocsin.yaml"
        path.write_text(json.dumps(self.settings))
        return path

    def config(self) -> Config:
        return load_config(self.path(), {})


@pytest.fixture
def site(tmp_path: Path) -> Site:
    found = Site(tmp_path)
    found.add("1")
    found.add("2")
    return found


def by_subject(results: Iterator[Result] | list[Result]) -> dict[str, Result]:
    return {result.subject: result for result in results}


def test_a_check_that_hangs_is_left_alone_and_hides_nothing() -> None:
    over = threading.Event()

    def hang() -> Iterator[Result]:
        yield ok("disk", "there is one")
        over.wait(30)

    found = run_checks([Check("disk", hang, seconds=0.1), Check("after", lambda: [ok("after", "fine")])])
    over.set()
    assert [(r.subject, r.status) for r in found] == [("disk", "ok"), ("disk", "problem"), ("after", "ok")]
    assert found[1].message == "no answer within 0.1 s"


def test_a_good_registry_is_told_with_what_to_improve(site: Site) -> None:
    found = by_subject(check_models(site.config()))
    assert found["keys"].status == "warning"
    assert "trial keys" in found["keys"].message
    assert found[f"registry {NAME}"].status == "warning"
    assert found[f"registry {NAME}"].message == (
        "2 versions verified; 1 serves, 1 is last known good, which nobody has vouched for"
    )
    site.promote("1", known_good=True)
    assert by_subject(check_models(site.config()))[f"registry {NAME}"].status == "ok"


def test_a_bundle_that_was_tampered_with_is_a_problem(site: Site) -> None:
    path = site.root / "registry" / NAME / "1" / "model.onnx"
    path.write_bytes(path.read_bytes() + b"!")
    found = by_subject(check_models(site.config()))[f"registry {NAME}"]
    assert found.status == "problem"
    assert found.message.startswith("version 1, the last known good one: ")
    assert "model.onnx: changed since it was signed" in found.message


def test_wrong_keys_are_a_problem_of_every_version(site: Site) -> None:
    (site.root / "other.pub.pem").write_bytes(new_signing_key().public.pem())
    site.settings["signing"] = {"trusted_keys": ["other.pub.pem"]}
    results = list(check_models(site.config()))
    wrong = [r.message for r in results if r.status == "problem" and r.subject == f"registry {NAME}"]
    assert len(wrong) == 2
    assert all("no valid signature by a trusted key" in message for message in wrong)


def test_a_key_that_is_none_is_a_problem(site: Site) -> None:
    (site.root / "no.pem").write_text("no key")
    site.settings["signing"] = {"trusted_keys": ["no.pem"]}
    (found,) = check_models(site.config())
    assert (found.subject, found.status) == ("keys", "problem")
    assert "is no public key in PEM form" in found.message


def test_an_empty_registry_is_a_problem_with_the_command_that_helps(site: Site) -> None:
    site.settings["models"] = {"mail": {}}
    found = by_subject(check_models(site.config()))["registry mail"]
    assert found.status == "problem"
    assert "tocsin registry add --registry" in found.advice


def test_a_model_that_cannot_be_read_does_not_hide_the_next(site: Site) -> None:
    (site.root / "registry" / "mail").mkdir()
    (site.root / "registry" / "mail" / "history.ndjson").write_text("nonsense\n")
    site.settings["models"] = {"mail": {}, NAME: {}}
    found = by_subject(check_models(site.config()))
    assert found["registry mail"].status == "problem"
    assert found[f"registry {NAME}"].status == "warning"


def test_a_missing_buffer_is_told_with_both_ways_to_give_it(site: Site) -> None:
    site.model["buffer"] = "buffers/{version}.csv"
    found = by_subject(check_models(site.config()))[f"buffer {NAME}"]
    assert found.status == "warning"
    assert "buffers/1.csv, which is not there" in found.message
    assert found.advice == f"set models.{NAME}.buffer, or give it with tocsin registry add --buffer"
    (site.root / "buffers").mkdir()
    (site.root / "buffers" / "1.csv").write_text("x,label\n")
    assert by_subject(check_models(site.config()))[f"buffer {NAME}"].status == "ok"


def test_a_server_that_serves_what_the_pointer_names_is_fine(site: Site) -> None:
    with ModelServer(site.registry, NAME) as server:
        site.model["serving"] = {"endpoints": [server.url]}
        (found,) = check_servers(site.config(), NAME)
        assert found.status == "ok"
        assert found.message == f"{server.url} serves version 1, by its answers to the canaries"


def test_a_server_that_was_not_told_of_a_move_is_a_problem(site: Site) -> None:
    with ModelServer(site.registry, NAME) as server:
        site.model["serving"] = {"endpoints": [server.url]}
        site.promote("2")
        (found,) = check_servers(site.config(), NAME)
    assert found.status == "problem"
    assert "version '1' answers, not '2'" in found.message
    assert "make it load what the pointer names" in found.advice


def test_a_server_that_is_away_is_a_problem(site: Site) -> None:
    site.model["serving"] = {"endpoints": ["http://127.0.0.1:1"]}
    (found,) = check_servers(site.config(), NAME)
    assert found.status == "problem"
    assert "Connection refused" in found.message


def test_without_endpoints_the_pointer_is_all_there_is(site: Site) -> None:
    (found,) = check_servers(site.config(), NAME)
    assert found.status == "warning"
    assert f"models.{NAME}.serving.endpoints" in found.advice


def test_what_would_keep_a_rollback_from_the_servers_is_a_problem_before_it_is_needed(site: Site) -> None:
    site.model["serving"] = {"adapter": "exec", "exec": {"command": ["no-such-program-of-ours"]}}
    missing, unseen = check_servers(site.config(), NAME)
    assert (missing.status, unseen.status) == ("problem", "warning")
    assert "exec: no-such-program-of-ours: there is no such program that may be run" in missing.message
    site.model["serving"] = {"adapter": "mlflow", "mlflow": {"tracking_uri": "http://127.0.0.1:1"}}
    (away,) = check_servers(site.config(), NAME)
    assert away.status == "problem"
    assert "mlflow: http://127.0.0.1:1 nids@serving: GET" in away.message
    assert "ConnectionRefusedError" in away.message


def test_a_server_that_cannot_be_told_by_v2_is_a_problem_though_it_serves_well(site: Site) -> None:
    with ModelServer(site.registry, NAME) as server:

        def respond(request: Request) -> Reply:
            if "/repository/" in request.path:
                return Reply(HTTPStatus.NOT_FOUND, b"{}")
            return server.respond(request)

        with JsonServer(("127.0.0.1", 0), respond) as other:
            site.model["serving"] = {"endpoints": [other.url]}
            deaf, serving = check_servers(site.config(), NAME)
    assert (deaf.status, serving.status) == ("problem", "ok")
    assert "it does not list its model repository: POST /v2/repository/index: status 404" in deaf.message


@pytest.mark.parametrize(("off", "status"), [(0.0, "ok"), (20.0, "warning"), (-20.0, "warning"), (3600.0, "problem")])
def test_a_clock_that_is_off_is_told(site: Site, off: float, status: str) -> None:
    with ModelServer(site.registry, NAME) as server:
        (found,) = check_clock([server.url, server.url], 5.0, lambda: time.time() + off)
    assert found.status == status


def test_a_server_that_is_away_says_nothing_about_the_clock() -> None:
    assert list(check_clock(["http://127.0.0.1:1"], 1.0)) == []


def test_a_state_folder_that_can_be_written_is_fine(site: Site) -> None:
    found = by_subject(check_state(site.root / "state", House()))
    assert "MiB free" in found["state"].message
    assert found["state"].status != "problem"
    assert found["daemon"].message == f"none holds {site.root / 'state'}"


def test_a_state_folder_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o555)
    nobody = 65_534
    if os.geteuid() == 0:
        for folder in (tmp_path, *tmp_path.parents):
            if folder.stat().st_mode & 0o077 == 0:  # pytest's own
                folder.chmod(0o755)
        os.seteuid(nobody)
    try:
        found = by_subject(check_state(state, House()))["state"]
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
    assert found.status == "problem"
    assert found.message == f"{state} cannot be written to"


def test_a_state_folder_below_a_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = by_subject(check_state(tmp_path / "file" / "state", House()))["state"]
    assert found.status == "problem"
    assert "cannot be made in" in found.message


def test_who_holds_the_state_is_named_without_touching_its_lock(site: Site) -> None:
    lock = site.root / "state" / "checkpoints" / "lock"
    lock.parent.mkdir()
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        found = by_subject(check_state(site.root / "state", House()))["daemon"]
    assert found.message == f"process {os.getpid()} holds {site.root / 'state'}"


def test_an_order_to_hold_everything_is_told(site: Site) -> None:
    FolderDesk(site.root / "state" / "answers").hold()
    results = [r for r in check_state(site.root / "state", House()) if r.status == "warning" and r.subject == "daemon"]
    assert [r.message for r in results] == [
        f"no step is begun, everything is on hold: {site.root / 'state' / 'answers' / 'HOLD'} is there"
    ]


def test_an_audit_log_that_was_edited_is_a_problem(tmp_path: Path) -> None:
    assert by_subject(check_audit(tmp_path))["audit"].message == "nothing has been done yet"
    log = AuditLog(tmp_path / "audit.ndjson", lambda: 0.0)
    log.append("start", {"mode": "observe"})
    log.append("stop", {})
    log.close()
    assert by_subject(check_audit(tmp_path))["audit"].message == "2 records, chain intact"
    path = tmp_path / "audit.ndjson"
    path.write_bytes(path.read_bytes().replace(b"observe", b"act", 1))
    found = by_subject(check_audit(tmp_path))["audit"]
    assert found.status == "problem"
    assert "line 1: was changed" in found.message


def test_the_filesystem_of_the_longest_mount_counts(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 0:40 / /srv/my\\040state rw shared:1 - nfs4 server:/x rw\n"
    )
    assert filesystem_of(Path("/srv/my state/tocsin"), mounts) == "nfs4"
    assert filesystem_of(Path("/srv/other"), mounts) == "ext4"
    assert filesystem_of(Path("/srv"), tmp_path / "none") == "unknown"


def sink(site: Site, **settings: Any) -> Result:
    site.settings["sinks"] = {"soc": settings}
    (found,) = check_sink("soc", site.config().sinks["soc"])
    return found


def test_a_receiver_that_takes_connections_is_fine(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert sink(site, type="syslog_tcp", address=address).status == "ok"
    found = sink(site, type="syslog_tcp", address=address)
    assert (found.status, found.message) == ("problem", f"{address}: Connection refused")


def test_a_receiver_without_tls_where_tls_is_asked_for_is_a_problem(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"

        def answer() -> None:
            with server.accept()[0] as connection:
                connection.recv(1)
                connection.sendall(b"no TLS here")

        thread = threading.Thread(target=answer)
        thread.start()
        found = sink(site, type="syslog_tls", address=address)
        thread.join()
    assert found.status == "problem"
    assert found.message.startswith(f"{address}: ")


def test_receivers_of_every_kind_are_reached(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        (site.root / "url").write_text(f"http://{address}/services/s3cret")
        found = [
            sink(site, type="alertmanager", url=f"http://{address}"),
            sink(site, type="webhook", url_file=str(site.root / "url")),
            sink(site, type="kafka", topic="alerts", kafka={"bootstrap_servers": [address]}),
            sink(site, type="syslog_udp", address=address),
            sink(site, type="stdout"),
        ]
    assert {each.status for each in found} == {"ok"}
    assert "s3cret" not in str(found)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"type": "elastic", "url": "http://127.0.0.1:1"}, "127.0.0.1:1: Connection refused"),
        ({"type": "kafka", "topic": "t", "kafka": {"bootstrap_servers": ["127.0.0.1:1"]}}, "no Kafka broker can be"),
        ({"type": "webhook", "url_file": "nowhere"}, "nowhere cannot be read: No such file"),
        ({"type": "syslog_udp", "address": "no-such-host.invalid:514"}, "no-such-host.invalid:514: "),
    ],
)
def test_a_receiver_that_is_not_reached_is_a_problem(site: Site, settings: dict[str, Any], words: str) -> None:
    found = sink(site, **settings)
    assert found.status == "problem"
    assert words in found.message


def test_a_file_of_alerts_needs_its_folder(site: Site) -> None:
    assert sink(site, type="file", path=str(site.root / "alerts.ndjson")).status == "ok"
    found = sink(site, type="file", path=str(site.root / "nowhere" / "alerts.ndjson"))
    assert found.status == "problem"
    assert "nowhere does not exist" in found.message


@pytest.mark.parametrize(
    ("changed", "statuses"),
    [
        ({}, ["ok"]),
        ({"kafka-python": "3.0.8"}, ["problem", "ok"]),
        ({"kafka-python": "3.0.10"}, ["ok"]),
        ({"apscheduler": "4.0.0a5"}, ["problem", "ok"]),
        ({"crc32c": None}, ["warning", "ok"]),
        ({"pyarrow": None}, ["warning", "ok"]),
    ],
)
def test_versions_that_do_not_work_are_problems(changed: dict[str, str | None], statuses: list[str]) -> None:
    installed = {
        "kafka-python": "3.0.12", "apscheduler": "3.11.3", "crc32c": "2.7", "pyarrow": "18", "onnxruntime": "1.20",
        "numpy": "2.0", **changed,
    }  # fmt: skip

    def find(name: str) -> str:
        version = installed[name]
        if version is None:
            raise PackageNotFoundError(name)
        return version

    assert [result.status for result in check_packages(find)] == statuses


DEVICE = {"name": "H100", "free_bytes": 70 * 2**30, "total_bytes": 80 * 2**30}


@pytest.mark.parametrize(
    ("facts", "device", "status", "said"),
    [
        ({"torch": "2.6", "why": "", "devices": [DEVICE]}, "auto", "ok", "torch 2.6 sees H100, 70 of 80 GiB free"),
        ({"torch": "2.6", "why": "", "devices": []}, "auto", "ok", "retraining runs on the CPU"),
        ({"torch": "2.6", "why": "", "devices": []}, "cuda", "problem", "there is no CUDA device, and nids must"),
        ({"torch": None, "why": "No module", "devices": []}, "auto", "warning", "torch cannot be imported"),
    ],
)
def test_what_a_retraining_would_run_on_is_told(
    site: Site, facts: dict[str, Any], device: str, status: str, said: str
) -> None:
    site.model["retrain"] = {"device": device}
    (found,) = check_gpu(site.config(), lambda: facts)
    assert found.status == status
    assert found.message.startswith(said)


def test_torch_is_asked_in_a_process_of_its_own() -> None:
    found = ask_torch()
    assert set(found) == {"torch", "why", "devices"}
    assert found["torch"] is not None


def test_the_level_rises_with_what_is_given(site: Site, tmp_path: Path) -> None:
    def level() -> tuple[int, str]:
        config = site.config()
        found = level_of(config, NAME, open_registry(config, NAME))
        return found.level, found.how

    kafka, origins = site.settings["kafka"], site.model.pop("trusted_origins")
    del kafka["trusted_feedback_topic"]
    assert level() == (0, f"set kafka.trusted_feedback_topic and models.{NAME}.trusted_origins")
    kafka["trusted_feedback_topic"] = "soc.vetted"
    site.model["trusted_origins"] = origins
    assert level() == (2, f"set models.{NAME}.buffer, or give it with tocsin registry add --buffer")
    buffer = tmp_path / "buffer.csv"
    buffer.write_text("x,label\n")
    site.add("2", Buffer(buffer, "label"))
    site.promote("3")
    assert level() == (3, "")
    site.add("1", onnx=False)
    site.promote("4")
    at, how = level()
    assert at == 1
    assert how.startswith("version 4 is a name with a reference: tocsin registry add")
    site.settings["models"] = {"mail": {}}
    config = site.config()
    nothing = level_of(config, "mail", open_registry(config, "mail"))
    assert nothing.level == -1
    assert nothing.how.startswith("tocsin registry add")


def test_what_act_would_do_is_what_the_policy_decides(site: Site) -> None:
    config = site.config()
    assert would_do(config, NAME, Pointers("1", "1"), retrainable=True).startswith("nothing: version 1 serves and is")
    assert would_do(config, NAME, Pointers(None, None), retrainable=True) == "nothing: no version serves"
    said = would_do(config, NAME, Pointers("2", "1"), retrainable=True)
    assert "move the serving pointer to version 1, leave it to the servers to see that" in said
    assert said.endswith("and not retrain (retrain.enabled is false)")
    site.model.update(retrain={}, serving={"endpoints": ["http://a", "http://b"]}, response={"rollbacks_per_day": 0})
    config = site.config()
    said = would_do(config, NAME, Pointers("2", "1"), retrainable=True)
    assert "wait for approval (the budget of 0 rollbacks a day is used up" in said
    assert "make 2 endpoints load it, retrain on sanitised data, and wait for approval of the candidate" in said
    assert would_do(config, NAME, Pointers("2", "1"), retrainable=False).endswith("its training buffer is not known")


def doctor(site: Site, *options: str) -> object:
    with pytest.raises(SystemExit) as left:
        main(["doctor", "--config", str(site.path()), *options], {})
    return left.value.code


def test_an_unreachable_broker_hides_nothing_else(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(site, "--json") == 1
    said = json.loads(capsys.readouterr().out)
    checks = {check["check"]: check for check in said["checks"]}
    assert said["status"] == "problem"
    assert "no Kafka broker can be reached (127.0.0.1:1" in checks["kafka"]["message"]
    assert {name for name, check in checks.items() if check["status"] == "problem"} == {"kafka"}
    assert {"configuration", "packages", "state", "audit", f"registry {NAME}", f"servers {NAME}"} <= set(checks)
    assert said["models"][NAME]["level"] == 2
    assert said["models"][NAME]["next"]["how"].startswith(f"set models.{NAME}.buffer")
    assert said["models"][NAME]["act"].startswith("nothing: version 1 serves")


def test_the_text_says_what_to_do_and_changes_nothing(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    config = site.path()
    before = {path: path.lstat().st_mtime_ns for path in site.root.rglob("*") if path != config}
    doctor(site)
    said = capsys.readouterr().out
    assert "problem  kafka" in said
    assert f"-> set models.{NAME}.buffer" in said
    assert f"{NAME}: level 2 of 3" in said
    assert "mode is observe; act would do this now: nothing" in said
    assert "\nproblems: 1, warnings: " in said
    assert {path: path.lstat().st_mtime_ns for path in site.root.rglob("*") if path != config} == before


def test_a_configuration_that_run_would_refuse_is_78_and_the_rest_is_told(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    del site.settings["kafka"]
    assert doctor(site) == 78
    said = capsys.readouterr().out
    assert "kafka: missing: where events come from" in said
    assert f"registry {NAME}" in said


def test_a_configuration_that_cannot_be_read_is_78(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.settings["mode"] = "acting"
    assert doctor(site) == 78
    assert "mode: " in capsys.readouterr().err
