"""A static server that answers as GitHub Pages does: compressed, kept for a while, 404.html for the rest."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote, urlsplit

from serving import Quiet, serving

COMPRESSED = {".html", ".css", ".js", ".json", ".svg", ".txt", ".xml", ".ipynb", ".py"}
KEPT = "max-age=600"


@cache
def packed(path: Path) -> bytes:
    """Return a file as it travels to a browser that takes gzip."""
    return gzip.compress(path.read_bytes(), 6, mtime=0)


class Hosted(Quiet, SimpleHTTPRequestHandler):
    """Send files of a folder, and HTTP/1.1's connections stay open."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """Send a file, or the page for addresses that lead nowhere."""
        root = Path(self.directory)
        path = (root / unquote(urlsplit(self.path).path).lstrip("/")).resolve()
        if path.is_dir():
            path /= "index.html"
        found = path.is_file() and path.is_relative_to(root)
        path = path if found else root / "404.html"
        zipped = path.suffix in COMPRESSED and "gzip" in self.headers.get("Accept-Encoding", "")
        body = packed(path) if zipped else path.read_bytes()
        self.send_response(200 if found else 404)
        kind = self.guess_type(str(path))
        self.send_header("Content-Type", f"{kind}; charset=utf-8" if kind.startswith("text/") else kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", KEPT)
        if zipped:
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Vary", "Accept-Encoding")
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def hosted(folder: Path) -> Iterator[str]:
    """Serve a folder; gives its address."""
    with serving(partial(Hosted, directory=str(folder.resolve()))) as address:
        yield f"{address}/"
