"""Scrapers: one that takes the time of each page, and many at once by wrk."""

import re
import socket
import subprocess
import time
from dataclasses import dataclass

from benchmarks.harness import quantile

PATIENCE = 120.0
"""Seconds to wait for a page: some come that late, and how late is what is measured."""


class Scraper:
    """One scraper with one kept connection. It does as little as can be, so that the server's time is what it sees."""

    def __init__(self, port: int, path: str = "/metrics", *, compressed: bool = False) -> None:
        """Prepare to ask 127.0.0.1 for ``path``."""
        self._port = port
        accept = "Accept-Encoding: gzip\r\n" if compressed else ""
        self._request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{accept}\r\n".encode()
        self._socket: socket.socket | None = None

    def get(self) -> bytes:
        """Return a page: its head and its body, as they came.

        Raises:
            OSError: The server is not there, or the status is not 200.
        """
        try:
            if self._socket is None:
                self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(self._request)
            return self._receive(self._socket)
        except BaseException:
            self.close()
            raise

    def _receive(self, connection: socket.socket) -> bytes:
        data = bytearray()
        end = -1
        while end < 0:
            part = connection.recv(1 << 20)
            if not part:
                raise ConnectionError("the server hung up")
            data += part
            end = data.find(b"\r\n\r\n")
        head = bytes(data[:end]).lower()
        if not head.startswith((b"http/1.1 200", b"http/1.0 200")):
            raise ConnectionError(head.partition(b"\r\n")[0].decode())
        length = re.search(rb"\r\ncontent-length: *(\d+)", head)
        wanted = end + 4 + int(length[1]) if length else None
        chunked = b"\r\ntransfer-encoding: chunked" in head
        while (len(data) < wanted) if wanted is not None else not (chunked and data.endswith(b"\r\n0\r\n\r\n")):
            part = connection.recv(1 << 20)
            if not part:
                if wanted is None and not chunked:
                    self.close()
                    break
                raise ConnectionError("the server hung up within a page")
            data += part
        return bytes(data)

    def latencies(self, number: int, pause: float = 0.0) -> list[float]:
        """Return the seconds that each of so many pages took, one after the other."""
        found = []
        for _ in range(number):
            begun = time.perf_counter()
            self.get()
            found.append(time.perf_counter() - begun)
            if pause:
                time.sleep(pause)
        return found

    def watch(self, seconds: float, pause: float) -> list[float]:
        """Return the seconds that each page took, asked for again and again for so long."""
        found: list[float] = []
        until = time.monotonic() + seconds
        while time.monotonic() < until or not found:
            found += self.latencies(1, pause)
        return found

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def body(page: bytes) -> str:
    """Return the text of a page."""
    head, _, rest = page.partition(b"\r\n\r\n")
    if b"\r\ntransfer-encoding: chunked" not in head.lower():
        return rest.decode()
    parts = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        parts.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
    return b"".join(parts).decode()


def series(page: bytes) -> int:
    """Return how many samples are on a page."""
    return sum(1 for line in body(page).splitlines() if line[:1] not in ("", "#"))


@dataclass(frozen=True, slots=True)
class Crowd:
    """What many scrapers at once saw.

    Attributes:
        rate: Pages a second.
        median: Seconds.
        worst_hundredth: Seconds; one page in a hundred took longer.
        errors: Connections refused or broken, and pages that took longer than two seconds.
    """

    rate: float
    median: float
    worst_hundredth: float
    errors: int


_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def parse_wrk(text: str) -> Crowd:
    """Read what ``wrk --latency`` prints.

    Raises:
        ValueError: Something is missing.
    """
    found = re.findall(r"^ +(\d+)% +([\d.]+)(us|ms|s|m) *$", text, re.MULTILINE)
    shares = {int(share): float(number) * _UNITS[unit] for share, number, unit in found}
    rate = re.search(r"^Requests/sec: +([\d.]+)$", text, re.MULTILINE)
    if rate is None or not {50, 99} <= shares.keys():
        raise ValueError(f"not what wrk prints:\n{text}")
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    return Crowd(float(rate[1]), shares[50], shares[99], sum(map(int, errors.groups())) if errors else 0)


def crowd(port: int, scrapers: int, seconds: float, path: str = "/metrics", *, compressed: bool = False) -> Crowd:
    """Have many scrapers ask for a page again and again, each as soon as it has one."""
    command = ["wrk", "--threads", "1", "--connections", str(scrapers), "--duration", f"{max(1, round(seconds))}s"]
    command += ["--header", "Accept-Encoding: gzip"] if compressed else []
    command += ["--latency", "--timeout", f"{PATIENCE:.0f}s", f"http://127.0.0.1:{port}{path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return parse_wrk(done.stdout)


def page_times(scraper: Scraper, number: int) -> tuple[float, float]:
    """Return the median and the worst hundredth of so many pages, after a few that do not count."""
    scraper.latencies(min(5, number))
    found = scraper.latencies(number)
    return quantile(found, 0.5), quantile(found, 0.99)
