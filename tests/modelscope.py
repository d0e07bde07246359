"""A stand-in for ModelScope on this machine: the lists of files, and the files, by ranges."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlparse


class Site:
    """repositories: `owner/name` -> the folder of its files. Each answer to a file may be made worse.

    cut: bytes after which every answer breaks off, None for never. ranges: whether it knows them. asked: the files that
    were asked for, each with the first byte wanted.
    """

    def __init__(self, repositories: dict[str, Path]) -> None:
        self.repositories = repositories
        self.url = ""
        self.cut: int | None = None
        self.ranges = True
        self.spoilt: set[str] = set()
        self.asked: list[tuple[str, int]] = []

    def files(self, name: str) -> list[dict[str, object]]:
        root = self.repositories[name]
        paths = sorted(path for path in root.rglob("*") if path.is_file())
        blobs = [
            {
                "Type": "blob",
                "Path": path.relative_to(root).as_posix(),
                "Size": path.stat().st_size,
                "Sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
            for path in paths
        ]
        return [{"Type": "tree", "Path": "folder", "Size": 0}, *blobs]


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlparse(self.path)
            parts = unquote(url.path).strip("/").split("/")
            if parts[:3] == ["api", "v1", "models"] and "/".join(parts[3:5]) in site.repositories:
                name = "/".join(parts[3:5])
                listing = {"Files": site.files(name)} if parts[5:] == ["repo", "files"] else {"License": "odd terms"}
                assert parse_qs(url.query)["Revision"][0].startswith("v")
                self._send(json.dumps({"Data": listing}).encode())
            elif parts[0] == "models" and parts[3] == "resolve":
                self._file("/".join(parts[1:3]), "/".join(parts[5:]))
            else:
                self.send_error(404)

        def _file(self, name: str, path: str) -> None:
            content = (site.repositories[name] / path).read_bytes()
            if path in site.spoilt:
                content = bytes(len(content))
            asked = self.headers.get("Range", "bytes=0-")
            first = int(asked.removeprefix("bytes=").rstrip("-")) if site.ranges else 0
            site.asked.append((path, first))
            self._send(content[first:], 206 if site.ranges else 200, cut=site.cut)

        def _send(self, content: bytes, status: int = 200, cut: int | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:cut])

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
