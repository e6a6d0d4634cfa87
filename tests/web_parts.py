"""A daemon for the outputs to show, a server that shows it, and certificates for both ends."""

import asyncio
import datetime
import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fakes import ManualClock, unchecked
from multidict import CIMultiDictProxy

from zcs_exporter.alerting.alarm import Alarm, Pending
from zcs_exporter.alerting.model import AlertRule
from zcs_exporter.config import WebConfig
from zcs_exporter.contract import CollectError, EvidenceItem, EvidenceKind, Kind, Metric, Sample
from zcs_exporter.events.ring import Ring
from zcs_exporter.expose.http import WebServer
from zcs_exporter.notify.message import Message
from zcs_exporter.snapshot import Reading, Snapshot

TOKEN = "Zm9vYmFy-token-of-the-test-0123456789"

MESSAGES = Metric("zcs_postfix_queue_messages", Kind.GAUGE, "Messages.", labels=("queue",))
FAILURES = Metric("zcs_auth_window_failures_max", Kind.GAUGE, "Most failures.", labels=("check",))
EVIDENCE = (
    EvidenceItem(EvidenceKind.ADDRESS, "198.51.100.23", 41),
    EvidenceItem(EvidenceKind.ACCOUNT, "<img src=x onerror=alert(1)>@example.com", 30),
    EvidenceItem(EvidenceKind.DOMAIN, "example.net"),
)


def reading(name: str, *samples: Sample, at: float = 1_709_371_230.0) -> Reading:
    return Reading(
        name,
        tuple(sample.metric for sample in samples),
        rounds=1,
        present=True,
        samples=samples,
        collected_at=at,
        duration=0.01,
    )


@dataclass
class FakeView:
    """What a daemon would show, as a test likes it."""

    hostname: str = "mail.example.com"
    latest: Snapshot = field(default_factory=Snapshot)
    standing: list[tuple[AlertRule, Alarm]] = field(default_factory=list)
    soon: list[Pending] = field(default_factory=list)
    logs: list[tuple[str, CollectError]] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    is_ready: bool = True
    ring: Ring = field(default_factory=lambda: Ring(ManualClock().clock))
    faults: list[str] = field(default_factory=list)
    reloads: int = 0
    hold: asyncio.Semaphore | None = None
    begun: asyncio.Semaphore | None = None

    def snapshot(self) -> Snapshot:
        return self.latest

    def alarms(self) -> Sequence[tuple[AlertRule, Alarm]]:
        return self.standing

    def pending(self) -> Sequence[Pending]:
        return self.soon

    def ready(self) -> bool:
        return self.is_ready

    def log_problems(self) -> Sequence[tuple[str, CollectError]]:
        return self.logs

    def recent(self) -> Sequence[Message]:
        return self.messages

    def events(self) -> Ring:
        return self.ring

    async def reload(self) -> list[str]:
        self.reloads += 1
        if self.hold is not None and self.begun is not None:
            self.begun.release()
            await self.hold.acquire()
        return self.faults

    def be_slow(self) -> None:
        """Have each reload say that it has begun, and wait to be let go on."""
        self.begun, self.hold = asyncio.Semaphore(0), asyncio.Semaphore(0)

    def put(self, *readings: Reading, own: tuple[Sample, ...] = ()) -> None:
        """Publish a new snapshot."""
        self.latest = replace(
            Snapshot(self.latest.generation + 1, 1_709_371_233.0, {each.collector: each for each in readings}), own=own
        )


def local(listen: str = "127.0.0.1:0", config_file: Path | None = None, allow: tuple[str, ...] = ()) -> WebConfig:
    """Return a configuration; port 0, which the file does not allow, takes a free one."""
    config = WebConfig(allow=allow, config_file=None if config_file is None else str(config_file))
    return unchecked(config, listen=listen)


class Running:
    """A server that runs, and a client for it."""

    def __init__(self, server: WebServer, session: aiohttp.ClientSession, base: str) -> None:
        self.server = server
        self.session = session
        self.base = base

    async def get(self, path: str, method: str = "GET", *, token: str | None = None, **more: object) -> "Answer":
        headers = dict(more.pop("headers", {}))  # type: ignore[call-overload]
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        more.setdefault("allow_redirects", False)
        async with self.session.request(method, self.base + path, headers=headers, **more) as response:
            return Answer(response.status, response.headers, await response.read())


@dataclass
class Answer:
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


Body = Callable[[Running], Awaitable[None]]


@dataclass
class Certificates:
    """A server's certificate, and a client's, by an authority of the tests."""

    directory: Path
    ca: Path
    server: tuple[Path, Path]
    client: tuple[Path, Path]
    stranger: tuple[Path, Path]


def issue(directory: Path, name: str, issuer: tuple[Path, Path, object, object] | None) -> tuple:  # type: ignore[type-arg]
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer[2])  # type: ignore[arg-type]
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key if issuer is None else issuer[3], hashes.SHA256())  # type: ignore[arg-type]
    )
    files = directory / f"{name}.crt", directory / f"{name}.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return (*files, subject, key)
