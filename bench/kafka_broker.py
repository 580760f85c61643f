"""A real Apache Kafka for tests, benches and the demo: one node (KRaft), on free ports of this machine.

Needs Java 17 or later, and Maven once to fetch the jars into ``.cache/kafka``.
"""

from __future__ import annotations

import fcntl
import gc
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time
import uuid
import warnings
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Self

from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError
from kafka_certificate import write_certificate

POM = Path(__file__).with_name("kafka_broker.pom.xml")
CACHE = POM.parent.parent / ".cache" / "kafka"
MINIMUM_JAVA = 17
JAVA = ("java", "-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-Dlog4j2.level=INFO")
NO_OVERRIDES: Mapping[str, str] = MappingProxyType({})


class BrokerUnavailableError(Exception):
    """No broker can run here; the message says what to install."""


class BrokerFailedError(Exception):
    """The broker did not come up; the message ends with its log."""


class KafkaBroker:
    """One broker process, its data in ``folder`` (``server.log`` there says what it did).

    ``overrides`` are lines of server.properties. Ports are chosen once, so that a restart comes back at the same place
    with the same data. ``bootstrap`` speaks plain text; ``secure_bootstrap`` TLS with ``certificate`` and SASL PLAIN
    with ``USER`` and ``PASSWORD``.
    """

    USER = "tocsin"
    PASSWORD = "only for tests"  # noqa: S105 - of a broker that lives as long as a test run

    def __init__(self, folder: Path, overrides: Mapping[str, str] = NO_OVERRIDES) -> None:
        self._folder = folder
        self._overrides = overrides
        self._process: subprocess.Popen[bytes] | None = None
        plain, secure, controller = (f"127.0.0.1:{port}" for port in free_ports(3))
        self._controller = controller
        self.bootstrap = plain
        self.secure_bootstrap = secure
        self.certificate = folder / "certificate.pem"

    def start(self, timeout: float = 90.0) -> None:
        """Formats the data folder on the first start, starts, and waits until a metadata request is answered."""
        classpath = f"{jars()}/*"
        properties = self._folder / "server.properties"
        self._folder.mkdir(parents=True, exist_ok=True)
        write_certificate(self.certificate, self._folder / "keystore.pem")
        properties.write_text(self._properties(), encoding="utf-8")
        if not (self._folder / "data" / "meta.properties").exists():
            cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            storage = ("-cp", classpath, "kafka.tools.StorageTool", "format")
            self._java(*storage, f"--cluster-id={cluster}", "--config", properties)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*JAVA, "-cp", classpath, "kafka.Kafka", str(properties)],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        self._wait_until_ready(time.monotonic() + timeout)

    def stop(self, timeout: float = 30.0) -> None:
        """Shuts down in order; kills what has not gone after ``timeout`` seconds."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """Ends the process at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stops and starts; topics, messages and committed offsets stay."""
        self.stop()
        self.start()

    def create_topic(self, topic: str, partitions: int = 1, config: Mapping[str, str] = NO_OVERRIDES) -> None:
        """Makes a topic; returns when its partitions have leaders."""
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=dict(config))])
            admin.wait_for_topics([topic])
        finally:
            admin.close()

    def damage(self, topic: str, content: bytes) -> None:
        """Changes one byte of a message on disk; the broker must not be running. ``content`` is uncompressed."""
        (segment,) = (self._folder / "data").glob(f"{topic}-0/*.log")
        whole = segment.read_bytes()
        place = whole.index(content)
        segment.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _log(self) -> Path:
        return self._folder / "server.log"

    def _java(self, *arguments: str | Path) -> None:
        done = subprocess.run(
            ["java", *map(str, arguments)], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        if done.returncode != 0:
            raise BrokerFailedError(f"java {' '.join(map(str, arguments))} failed:\n{done.stdout}{done.stderr}")

    def _wait_until_ready(self, deadline: float) -> None:
        process = self._process
        while process is not None and process.poll() is None and time.monotonic() < deadline:
            if answers(self.bootstrap):
                return
            time.sleep(0.1)
        code = None if process is None else process.poll()
        self.kill()
        tail = self._log.read_text(encoding="utf-8", errors="replace")[-4000:]
        raise BrokerFailedError(f"Kafka at {self.bootstrap} did not come up (exit code {code}); its log ends:\n{tail}")

    def _properties(self) -> str:
        login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        brokers = f"PLAINTEXT://{self.bootstrap},SECURE://{self.secure_bootstrap}"
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{self._controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"{brokers},CONTROLLER://{self._controller}",
            "advertised.listeners": brokers,
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.secure.plain.sasl.jaas.config": f'{login} user_{self.USER}="{self.PASSWORD}";',
            "listener.name.secure.ssl.keystore.type": "PEM",
            "listener.name.secure.ssl.keystore.location": str(self._folder / "keystore.pem"),
            "log.dirs": str(self._folder / "data"),
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "2",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "broker.heartbeat.interval.ms": "500",  # a killed broker comes back when its session has ended
            "broker.session.timeout.ms": "3000",
            "group.min.session.timeout.ms": "1000",
            "message.max.bytes": str(80 * 2**20),
            "log.segment.bytes": str(128 * 2**20),
            **self._overrides,
        }
        return "".join(f"{key}={value}\n" for key, value in settings.items())


def jars() -> Path:
    """The folder with the broker's jars, fetched on first use; raises `BrokerUnavailableError`."""
    require_java()
    digest = uuid.uuid5(uuid.NAMESPACE_OID, POM.read_text(encoding="utf-8")).hex[:12]
    folder = CACHE / digest
    if folder.exists():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise BrokerUnavailableError("Apache Kafka is fetched with Maven: install it (Debian: apt-get install maven)")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs may start at once
        if not folder.exists():
            fetch(maven, folder)
    return folder


def fetch(maven: str, folder: Path) -> None:
    """Fetches the jars that the pom names; the folder appears only when all of them are there."""
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={partial}"]
    done = subprocess.run([maven, "-B", "-q", "-f", str(POM), *goal], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BrokerUnavailableError(f"Maven could not fetch Apache Kafka ({POM.name}):\n{done.stdout}{done.stderr}")
    partial.rename(folder)


def require_java() -> None:
    """Raises `BrokerUnavailableError` unless a Java that runs Kafka 4 is on the PATH."""
    install = f"Apache Kafka needs Java {MINIMUM_JAVA}: install it (Debian: apt-get install openjdk-17-jre-headless)"
    java = shutil.which("java")
    if java is None:
        raise BrokerUnavailableError(install)
    shown = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', shown)
    if found is None or int(found[1]) < MINIMUM_JAVA:
        raise BrokerUnavailableError(f"{install}; found: {shown.splitlines()[0] if shown else 'nothing'}")


def answers(bootstrap: str) -> bool:
    """Whether a broker answers a metadata request there."""
    host, _, port = bootstrap.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1.0).close()
        admin = KafkaAdminClient(bootstrap_servers=bootstrap, bootstrap_timeout_ms=2000)
    except (OSError, KafkaError):
        return False
    try:
        return bool(admin.describe_cluster()["brokers"])
    except KafkaError:
        return False
    finally:
        admin.close()


def collect_sockets() -> None:
    """Frees the sockets that kafka-python leaves open where a broker refused them, without a warning for each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, below the range from which the system takes its own (a restart needs them again)."""
    chosen: list[int] = []
    system = random.SystemRandom(os.getpid())
    while len(chosen) < count:
        port = system.randrange(20000, 32000)
        with socket.socket() as probe:
            if port not in chosen and probe.connect_ex(("127.0.0.1", port)) != 0:
                chosen.append(port)
    return chosen
