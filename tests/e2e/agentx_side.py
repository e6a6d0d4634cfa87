"""Our end of AgentX as a process of its own, which a test can stop, kill and measure: `PLACE MOUNTS ROOT`."""

import asyncio
import logging
import signal
import sys

from mib_views import view_with_mounts

from zcs_exporter.agent.agentx import AgentX
from zcs_exporter.agent.agentx_session import Patience
from zcs_exporter.contract import Clock

PATIENCE = Patience(answer=0.5, idle=0.5, pause=0.1, longest_pause=0.5)


async def main(place: str, mounts: str, root: str) -> None:
    oid = tuple(map(int, root.split(".")))
    view = view_with_mounts(int(mounts), oid)
    agentx = AgentX(lambda: view, Clock(), PATIENCE)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await agentx.use(place, oid)
    await ended.wait()
    await agentx.stop()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    asyncio.run(main(*sys.argv[1:]))
