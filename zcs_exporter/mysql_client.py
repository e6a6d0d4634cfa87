"""PyMySQL, loaded without cryptography.

PyMySQL wants that for one way to log in over TCP without TLS. We come through a unix socket, where it is never asked
for, and it would take three megabytes and a thirtieth of the daemon's start.
"""

import sys

_loaded = "cryptography" in sys.modules
if not _loaded:
    sys.modules["cryptography"] = None  # type: ignore[assignment]  # documented: importing it then fails
try:
    import pymysql
finally:
    if not _loaded:
        del sys.modules["cryptography"]

__all__ = ["pymysql"]
