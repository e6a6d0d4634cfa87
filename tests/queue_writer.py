"""Writes Postfix queue files in their true format, for tests that need no Postfix."""

import os


def record(kind: str, data: bytes) -> bytes:
    """Return one record: type, varint length, data."""
    length, head = len(data), kind.encode()
    while True:
        length, low = length >> 7, length & 0x7F
        head += bytes([low | (0x80 if length else 0)])
        if not length:
            return head + data


def queue_file(
    size: int | None = 378,
    arrival: int | None = 1_709_371_000,
    sender: str = "alice@example.com",
    recipients: tuple[str, ...] = ("bob@example.net",),
    login: str | None = None,
) -> bytes:
    """Return a queue file as Postfix lays it out; without a size as in maildrop."""
    parts = []
    if size is not None:
        parts.append(record("C", b"%15d %15d %15d %15d %15d %15d" % (size, 650, len(recipients), 0, size, 0)))
    if arrival is not None:
        parts.append(record("T", b"%d 548829" % arrival))
    parts += [record("A", b"create_time=1"), record("A", b"rewrite_context=local"), record("S", sender.encode())]
    parts.append(record("A", b"log_client_name=unknown"))
    if login is not None:
        parts += [record("A", b"sasl_method=PLAIN"), record("A", b"sasl_username=" + login.encode())]
    for recipient in recipients:
        parts += [record("O", recipient.encode()), record("R", recipient.encode())]
    parts += [
        record("M", b""),
        record("N", b"Subject: a test"),
        record("N", b"x" * 300),
        record("X", b""),
        record("E", b""),
    ]
    return b"".join(parts)


def put(path: str, content: bytes, mode: int = 0o700) -> None:
    """Write a file as Postfix does, 0600 until it is complete, and then give it ``mode``."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        os.write(descriptor, content)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)
