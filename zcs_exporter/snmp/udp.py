"""UDP sockets on numeric addresses."""

import socket


def bind(address: str, port: int) -> socket.socket:
    """Return a UDP socket on a numeric address.

    Raises:
        OSError: The address cannot be had.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        bound.setblocking(False)
        bound.bind((address, port))
    except BaseException:
        bound.close()
        raise
    return bound
