import asyncio
from collections.abc import Callable

import aiohttp
import pytest
from fakes import ManualClock
from web_parts import EVIDENCE, FAILURES, MESSAGES, TOKEN, Body, Certificates, FakeView, Running, issue, local, reading

from zcs_exporter.config import PrivacyConfig, WebConfig
from zcs_exporter.expose.http import WebServer


@pytest.fixture
def view() -> FakeView:
    found = FakeView()
    found.put(
        reading("postfix", MESSAGES.sample(18234, queue="deferred"), MESSAGES.sample(0, queue="hold")),
        reading("auth", FAILURES.sample(41, check="ip", evidence=EVIDENCE)),
    )
    return found


@pytest.fixture
def serve(view: FakeView, manual: ManualClock) -> Callable[..., None]:
    """Run a server for the length of a coroutine."""

    def run(
        body: Body, config: WebConfig | None = None, privacy: PrivacyConfig | None = None, base: str | None = None
    ) -> None:
        async def all_of_it() -> None:
            server = WebServer(config or local(), privacy or PrivacyConfig(), view, TOKEN, manual.clock)
            await server.start()
            try:
                # Without it the client's own decoding would hide what came over the wire.
                async with aiohttp.ClientSession(
                    auto_decompress=False, skip_auto_headers=["Accept-Encoding"]
                ) as session:
                    await body(Running(server, session, base or f"http://127.0.0.1:{server.port}"))
            finally:
                await server.stop()

        asyncio.run(all_of_it())

    return run


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    directory = tmp_path_factory.mktemp("tls")
    authority = issue(directory, "ca", None)
    other = issue(directory, "other", None)
    server = issue(directory, "server", authority)
    client = issue(directory, "client", authority)
    stranger = issue(directory, "stranger", other)
    return Certificates(directory, directory / "ca.crt", server[:2], client[:2], stranger[:2])
