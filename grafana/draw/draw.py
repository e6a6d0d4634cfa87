#!/usr/bin/env python3
"""Draw a dashboard as Grafana would, from a real Prometheus, and say what each panel shows.

    grafana/draw/draw.py grafana/host.json http://127.0.0.1:9090 host.png

The picture is 1920 by 1080, what kiosk mode shows without scrolling; --full draws all of it. The exit status is 1 where
a query fails or a panel cannot be drawn. Grafana's parts come from npm, once, into ~/.cache/zcs-exporter-draw (650 MB);
the browser is Debian's chromium.
"""

import argparse
import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlencode

HERE = Path(__file__).resolve().parent
SOURCES = ("page.jsx", "scroll.js", "build.mjs", "shot.mjs", "package.json")
PAGE = """<!doctype html><meta charset="utf-8"><div id="root"></div>
<script>window.__grafana_public_path__ = "public/";
window.grafanaBootData = {settings: {buildInfo: {}, featureToggles: {}}, user: {}};</script>
<link rel="stylesheet" href="page.css"><script src="page.js"></script>
"""


def prepare() -> Path:
    """Install Grafana's parts and bundle the page where that has not been done, and return where they are."""
    room = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zcs-exporter-draw"
    room.mkdir(parents=True, exist_ok=True)
    changed = [name for name in SOURCES if not _same(HERE / name, room / name)]
    for name in changed:
        shutil.copy(HERE / name, room / name)
    if "package.json" in changed or not (room / "node_modules").exists():
        # --legacy-peer-deps, because the parts name each other's exact versions and those of what they never load.
        flags = ("--ignore-scripts", "--legacy-peer-deps", "--no-audit", "--no-fund", "--no-package-lock")
        subprocess.run(["npm", "install", *flags], cwd=room, check=True, stdout=sys.stderr)
    if changed or not (room / "out" / "page.js").exists():
        subprocess.run(["node", "build.mjs"], cwd=room, check=True, stdout=sys.stderr)
    (room / "out" / "index.html").write_text(PAGE)
    public = room / "out" / "public"
    if not public.exists():
        public.symlink_to("../node_modules/@grafana/ui/dist/public")
    return room


def _same(one: Path, other: Path) -> bool:
    return other.exists() and one.read_bytes() == other.read_bytes()


class Handler(http.server.SimpleHTTPRequestHandler):
    """The page, the dashboard, and below /prom the Prometheus."""

    def __init__(self, *arguments: object, prometheus: str, dashboard: Path, **options: object) -> None:
        self.prometheus = prometheus
        self.dashboard = dashboard
        super().__init__(*arguments, **options)

    def do_GET(self) -> None:
        """Answer."""
        if self.path.startswith("/prom/"):
            try:
                with urllib.request.urlopen(self.prometheus + self.path.removeprefix("/prom")) as answer:
                    self._answer(answer.status, answer.read())
            except urllib.error.HTTPError as exc:
                self._answer(exc.code, exc.read())
        elif self.path == "/dashboard.json":
            self._answer(200, self.dashboard.read_bytes())
        else:
            super().do_GET()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Be quiet."""


def main() -> int:
    """Draw, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dashboard", type=Path)
    parser.add_argument("prometheus", help="its address")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--from", dest="start", help="seconds since the epoch; the dashboard's own time without")
    parser.add_argument("--to", dest="end", help="seconds since the epoch; now without")
    parser.add_argument("--scrape", default="15", help="seconds between two scrapes, 15 as in Grafana without")
    parser.add_argument("--full", action="store_true", help="all of it, not only the first screen")
    given = parser.parse_args()
    room = prepare()
    handler = functools.partial(
        Handler, directory=str(room / "out"), prometheus=given.prometheus.rstrip("/"), dashboard=given.dashboard
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = {"from": given.start, "to": given.end, "scrape": given.scrape}
        wanted = urlencode({name: value for name, value in options.items() if value is not None})
        address = f"http://127.0.0.1:{server.server_port}/index.html?{wanted}"
        command = ["node", "shot.mjs", address, str(given.picture.absolute()), "full" if given.full else ""]
        status = subprocess.run(command, cwd=room, check=False).returncode
        server.shutdown()
    return status


if __name__ == "__main__":
    sys.exit(main())
