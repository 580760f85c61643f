"""The kinds of traffic that the generator knows: what an ordinary session of each looks like on the wire.

The figures are round numbers of the right order of magnitude, not fits to a capture. What matters is their shape:
heavy tails, services shared between benign and hostile families, and rare features that hardly ever leave zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Spread: TypeAlias = tuple[float, float]
"""A lognormal as (median, standard deviation of the natural logarithm)."""

STATES = ("SF", "S0", "REJ", "RSTO", "RSTR", "OTH")
"""How a connection went: complete, no answer, refused, reset by the client, reset by the server, seen in part."""


@dataclass(frozen=True, slots=True)
class Service:
    """What a session of a family speaks, on which port, and how often (``weight``)."""

    name: str
    protocol: Literal["tcp", "udp", "icmp"]
    port: int
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of traffic.

    ``weight`` is its share of all sessions before sensors and drift change it, ``peak`` the hour (UTC) at which it is
    busiest, ``twin`` the family of the other class that its ambiguous sessions look like. ``duration`` is in seconds,
    ``bytes_*`` per flow, ``packet`` the bytes of a full packet, ``gap`` the seconds between flows of one session.
    ``peer_flows``, ``service_flows`` and ``ports`` count flows to the same host, flows of the same service and distinct
    ports in the last two minutes; a family that ``sweeps`` goes to another port with every flow. ``states`` are weights
    of `STATES`. ``tls``, ``inbound``, ``known`` and ``errors`` are probabilities; ``entropy`` is the payload's, in bits
    per byte. ``retransmits`` to ``files_created`` are the means of Poisson counts.
    """

    name: str
    label: Literal["benign", "attack"]
    weight: float
    twin: str
    services: tuple[Service, ...]
    states: tuple[float, ...] = (94, 1, 1, 2, 1, 1)
    peak: float = 13.0
    duration: Spread = (1.0, 1.0)
    bytes_out: Spread = (1e3, 1.0)
    bytes_in: Spread = (4e3, 1.2)
    packet: float = 900.0
    gap: float = 5.0
    entropy: float = 6.0
    peer_flows: Spread = (4.0, 0.7)
    service_flows: Spread = (8.0, 0.8)
    ports: Spread = (1.5, 0.4)
    errors: float = 0.03
    tls: float = 0.5
    inbound: float = 0.1
    known: float = 0.9
    retransmits: float = 0.15
    failed_logins: float = 0.004
    urgent: float = 0.0006
    wrong_fragments: float = 0.0008
    shells: float = 0.0005
    files_created: float = 0.01
    sweeps: bool = False


_HTTP = Service("http", "tcp", 443, 3.0)
_PLAIN_HTTP = Service("http", "tcp", 80)
_DNS = Service("dns", "udp", 53)
_SSH = Service("ssh", "tcp", 22)
_SMB = Service("smb", "tcp", 445)
_RDP = Service("rdp", "tcp", 3389)
_OTHER = Service("other", "tcp", 8443)

# The two tables are read by rows.
# fmt: off
BENIGN = (
    Family(
        "web", "benign", 30, "botnet_c2", (_HTTP, _PLAIN_HTTP), duration=(2.5, 1.3), bytes_out=(1.8e3, 1.0),
        bytes_in=(2.2e4, 1.6), entropy=7.2, gap=3, tls=0.8, known=0.75, service_flows=(14, 0.8),
    ),
    Family(
        "dns", "benign", 18, "port_scan", (_DNS,), duration=(0.03, 0.8), bytes_out=(70, 0.3), bytes_in=(180, 0.5),
        packet=300, entropy=4.3, gap=1, tls=0.05, known=0.98, peer_flows=(12, 0.8), service_flows=(20, 0.7),
        states=(97, 2.5, 0, 0, 0, 0.5),
    ),
    Family(
        "mail", "benign", 7, "exfiltration", (Service("smtp", "tcp", 587), Service("imap", "tcp", 993)),
        duration=(4, 1.0), bytes_out=(1.2e4, 1.6), bytes_in=(4e3, 1.2), entropy=6.3, tls=0.9, peak=10,
    ),
    Family(
        "file_transfer", "benign", 6, "worm", (_SMB, Service("ftp", "tcp", 21, 0.4)), duration=(6, 1.2),
        bytes_out=(3e4, 1.8), bytes_in=(9e4, 1.9), packet=1300, entropy=6.8, tls=0.1, files_created=0.9,
        ports=(2, 0.5),
    ),
    Family(
        "backup", "benign", 4, "exfiltration", (_SSH, _OTHER), duration=(180, 1.0), bytes_out=(4e7, 1.3),
        bytes_in=(2e5, 1.0), packet=1400, entropy=7.8, gap=60, tls=0.7, peak=2, known=0.99, files_created=0.05,
    ),
    Family(
        "voip", "benign", 6, "dos", (Service("sip", "udp", 5060), Service("rtp", "udp", 16384, 2.0)),
        duration=(75, 1.1), bytes_out=(6e5, 1.1), bytes_in=(6e5, 1.1), packet=200, entropy=7.0, gap=20, tls=0.3,
        retransmits=0.02,
    ),
    Family(
        "database", "benign", 8, "web_attack", (Service("sql", "tcp", 5432),), duration=(0.4, 1.5),
        bytes_out=(900, 1.0), bytes_in=(7e3, 1.8), entropy=5.2, gap=1, tls=0.6, inbound=0.02, known=0.995,
        peer_flows=(18, 0.8), service_flows=(22, 0.8),
    ),
    Family(
        "remote_admin", "benign", 4, "brute_force", (_SSH, _RDP), duration=(60, 1.5), bytes_out=(9e3, 1.3),
        bytes_in=(2e4, 1.4), entropy=7.4, gap=40, tls=0.95, failed_logins=0.25, shells=0.012, files_created=0.06,
    ),
    Family(
        "monitoring", "benign", 9, "port_scan",
        (Service("other", "icmp", 0), Service("ntp", "udp", 123), Service("http", "tcp", 9100)), duration=(0.05, 0.9),
        bytes_out=(120, 0.6), bytes_in=(300, 1.3), packet=400, entropy=4.6, gap=10, tls=0.2, known=0.97,
        peer_flows=(6, 0.6), ports=(3, 0.6), errors=0.06, states=(93, 4, 2, 0, 0, 1),
    ),
    Family(
        "collaboration", "benign", 8, "botnet_c2", (Service("http", "tcp", 8443), Service("quic", "udp", 443, 2.0)),
        duration=(420, 0.9), bytes_out=(2.5e6, 1.2), bytes_in=(4e6, 1.2), packet=1100, entropy=7.9, gap=30, tls=0.99,
        known=0.6, peer_flows=(9, 0.5), service_flows=(30, 0.6),
    ),
)

ATTACKS = (
    Family(
        "port_scan", "attack", 7, "monitoring", (Service("other", "tcp", 1024), Service("other", "icmp", 0, 0.2)),
        states=(6, 50, 36, 3, 4, 1), duration=(0.01, 1.0), bytes_out=(44, 0.4), bytes_in=(20, 0.9), packet=60,
        entropy=2.0, gap=0.3, peer_flows=(35, 1.0), service_flows=(40, 0.9), ports=(30, 1.1), errors=0.75, tls=0.01,
        inbound=0.8, known=0.15, peak=3, wrong_fragments=0.002, urgent=0.002, sweeps=True,
    ),
    Family(
        "brute_force", "attack", 5, "remote_admin", (_SSH, _RDP, Service("ftp", "tcp", 21, 0.5)),
        states=(55, 3, 6, 14, 20, 2), duration=(2.2, 0.7), bytes_out=(1.6e3, 0.5), bytes_in=(2.0e3, 0.5), entropy=7.3,
        gap=1, peer_flows=(28, 0.8), service_flows=(35, 0.8), errors=0.3, tls=0.8, inbound=0.75, known=0.3,
        failed_logins=2.6, peak=4,
    ),
    Family(
        "dos", "attack", 5, "web", (_PLAIN_HTTP, _HTTP, Service("dns", "udp", 53, 0.7)), states=(35, 45, 6, 8, 5, 1),
        duration=(0.4, 1.6), bytes_out=(500, 1.2), bytes_in=(120, 1.8), packet=300, entropy=3.6, gap=0.1,
        peer_flows=(150, 1.0), service_flows=(160, 1.0), errors=0.55, tls=0.3, inbound=0.9, known=0.2,
        retransmits=1.2, wrong_fragments=0.01,
    ),
    Family(
        "exfiltration", "attack", 3, "backup", (_HTTP, Service("dns", "udp", 53, 0.6), _SSH), duration=(90, 1.0),
        bytes_out=(6e6, 1.3), bytes_in=(9e3, 1.0), packet=1350, entropy=7.9, gap=45, tls=0.75, known=0.12, peak=1,
        files_created=0.15,
    ),
    Family(
        "botnet_c2", "attack", 4, "web", (_HTTP, Service("irc", "tcp", 6667, 0.8), Service("http", "tcp", 8080, 1.0)),
        duration=(25, 0.6), bytes_out=(330, 0.35), bytes_in=(420, 0.45), packet=250, entropy=7.8, gap=60, tls=0.55,
        known=0.1, peer_flows=(1.6, 0.3), service_flows=(2.5, 0.5), shells=0.01,
    ),
    Family(
        "web_attack", "attack", 3, "web", (_PLAIN_HTTP, _HTTP), states=(80, 1, 2, 6, 10, 1), duration=(1.2, 1.1),
        bytes_out=(5.5e3, 0.9), bytes_in=(3e3, 1.4), entropy=5.4, gap=1, tls=0.5, inbound=0.92, known=0.2,
        peer_flows=(22, 0.8), service_flows=(25, 0.8), errors=0.25, shells=0.03, files_created=0.08,
    ),
    Family(
        "worm", "attack", 3, "file_transfer", (_SMB, _RDP), states=(45, 25, 15, 6, 8, 1), duration=(1.5, 0.9),
        bytes_out=(1.6e4, 0.6), bytes_in=(1.8e3, 0.8), packet=1200, entropy=7.5, gap=0.8, peer_flows=(3, 0.6),
        service_flows=(70, 0.9), ports=(2, 0.4), errors=0.4, tls=0.1, inbound=0.3, known=0.35, shells=0.12,
        files_created=0.6,
    ),
)

# fmt: on

FAMILIES: tuple[Family, ...] = BENIGN + ATTACKS
NAMES: tuple[str, ...] = tuple(f.name for f in FAMILIES)
