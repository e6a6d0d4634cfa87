"""UDP sockets on numeric addresses."""

import socket
from collections.abc import Iterable


def bind(address: str, port: int, beside: socket.socket | None = None) -> socket.socket:
    """Return a UDP socket on a numeric address.

    Args:
        address: The address.
        port: The port.
        beside: Another socket of ours, on the same port, which shall not be in the way: one on all addresses forbids
            one on a single address, and the other way round.

    Raises:
        OSError: The address cannot be had.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    sharing = () if beside is None else (bound, beside)
    try:
        bound.setblocking(False)
        _let_share(sharing, True)
        bound.bind((address, port))
    except BaseException:
        bound.close()
        raise
    finally:
        # Only for that moment: nobody else may take the port from us.
        _let_share([each for each in sharing if each.fileno() >= 0], False)
    return bound


def _let_share(sockets: Iterable[socket.socket], share: bool) -> None:
    for each in sockets:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, share)
