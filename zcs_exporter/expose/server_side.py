"""aiohttp's server, loaded without what only its client needs.

When aiohttp is imported it makes the TLS context of its client, for which it reads all certificates that the system
trusts: a twentieth of this daemon's start. Nobody here is a client of aiohttp; who becomes one must pass a context of
its own, since the one that aiohttp made here trusts nobody.
"""

import ssl

_trusting = ssl.create_default_context
ssl.create_default_context = lambda *_, **__: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
try:
    from aiohttp import web
    from aiohttp.typedefs import Handler, Middleware
finally:
    ssl.create_default_context = _trusting

__all__ = ["Handler", "Middleware", "web"]
