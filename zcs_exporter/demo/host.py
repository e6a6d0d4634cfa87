"""What a directory cannot show: how full a file system is, and a database that answers."""

from collections.abc import Mapping
from dataclasses import dataclass

from pymysql.connections import Connection as MysqlConnection

from zcs_exporter.demo.database import Database
from zcs_exporter.hostio import FilesystemUsage, Host, MysqlLogin
from zcs_exporter.mysql_client import PairCursor

_BLOCK = 4096


@dataclass(slots=True)
class Volume:
    """A file system; the script changes how full it is.

    Attributes:
        device: Where it is kept, as mountinfo names it.
        size: Bytes.
        used: Share of the space.
        inodes: How many there are.
        inodes_used: Share of them.
    """

    device: str
    size: int
    used: float
    inodes: int
    inodes_used: float

    def usage(self) -> FilesystemUsage:
        """Return what statvfs would say; nothing is kept back for root."""
        blocks = self.size // _BLOCK
        free = round(blocks * (1 - self.used))
        return FilesystemUsage(
            block_size=_BLOCK,
            blocks=blocks,
            blocks_free=free,
            blocks_available=free,
            files=self.inodes,
            files_free=round(self.inodes * (1 - self.inodes_used)),
            read_only=False,
        )


class DemoHost(Host):
    """A host below a directory whose volumes and database server are made up."""

    def __init__(self, root: str, zimbra_home: str, volumes: Mapping[str, Volume], database: Database) -> None:
        """Answer for ``volumes`` by their mount points, and for every socket with ``database``."""
        super().__init__(root, zimbra_home)
        self._volumes = volumes
        self._database = database

    def statvfs(self, mountpoint: str) -> FilesystemUsage:
        """Return the usage of a made-up volume."""
        return self._volumes[mountpoint].usage()

    def connect_mysql(self, login: MysqlLogin) -> "MysqlConnection[PairCursor]":
        """Connect to the made-up database server."""
        return self._database.connect(login)
