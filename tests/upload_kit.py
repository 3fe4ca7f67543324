"""A server that takes what is published, as the Hub does: repositories, branches, files small and large."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".safetensors",)  # what goes another way than with the commit


class UploadHub:
    """Repositories in memory. ``files`` has the content of each file, by (repository, branch) and name.

    ``requests`` lists what was asked for, as (method, path); ``refuse`` names repositories that may not be
    written to.
    """

    def __init__(self, owner="me"):
        self.owner = owner
        self.files = {}
        self.commits = []  # (repository, branch, message)
        self.large = {}  # by hash
        self.requests = []
        self.private = {}
        self.refuse = set()
        self.endpoint = ""


def _handler(hub):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self._get(body=False)

        def do_GET(self):
            self._get(body=True)

        def do_PUT(self):
            self._path()
            content = self._content()
            hub.large[hashlib.sha256(content).hexdigest()] = content
            self._send(200, b"")

        def do_POST(self):
            content = self._content()
            path = self._path()
            if path == "/api/repos/create":
                wanted = json.loads(content)
                name = f"{wanted['organization'] or hub.owner}/{wanted['name']}"
                if name in hub.refuse:
                    self._json({"error": "You may not write there"}, 403)
                    return
                there = (name, "main") in hub.files
                hub.files.setdefault((name, "main"), {})
                hub.private.setdefault(name, wanted.get("visibility") == "private")
                self._json({"url": f"{hub.endpoint}/{name}"}, 409 if there else 200)
            elif path == "/api/validate-yaml":
                self._json({"errors": [], "warnings": []})
            elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/branch/(.+)", path):
                hub.files.setdefault((match[1], match[2]), dict(hub.files[match[1], "main"]))
                self._json({})
            elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/(.+)", path):
                names = [file["path"] for file in json.loads(content)["files"]]
                modes = {name: "lfs" if name.endswith(LARGE) else "regular" for name in names}
                files = [{"path": n, "uploadMode": modes[n], "shouldIgnore": False} for n in names]
                self._json({"files": files})
            elif match := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
                href = f"{hub.endpoint}/store"
                objects = [
                    {**each, "actions": {"upload": {"href": href}}} for each in json.loads(content)["objects"]
                ]
                self._json({"transfer": "basic", "objects": objects})
            elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/(.+)", path):
                self._commit(match[1], match[2], content)
            else:
                self._json({"error": path}, 404)

        def _commit(self, repository, branch, content):
            wants_review = "create_pr" in parse_qs(urlsplit(self.path).query)
            branch = "refs/pr/1" if wants_review else branch
            files = hub.files.setdefault((repository, branch), {})
            for line in content.splitlines():
                entry = json.loads(line)
                value = entry["value"]
                if entry["key"] == "header":
                    hub.commits.append((repository, branch, value["summary"]))
                elif entry["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif entry["key"] == "lfsFile":
                    files[value["path"]] = hub.large[value["oid"]]
            oid = hashlib.sha1(content).hexdigest()
            answer = {"commitUrl": f"{hub.endpoint}/{repository}/commit/{oid}", "commitOid": oid}
            if wants_review:
                answer["pullRequestUrl"] = f"{hub.endpoint}/{repository}/discussions/1"
            self._json(answer)

        def _get(self, *, body):
            path = self._path()
            match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
            files = hub.files.get((match[1], match[2])) if match else None
            if files is None or match[3] not in files:
                self._send(404, b"", {"X-Error-Code": "RepoNotFound" if files is None else "EntryNotFound"})
                return
            content = files[match[3]]
            digest = hashlib.sha1(content).hexdigest()
            self._send(200, content, {"ETag": f'"{digest}"', "X-Repo-Commit": digest}, body=body)

        def _path(self):
            path = unquote(urlsplit(self.path).path)
            hub.requests.append((self.command, path))
            return path

        def _content(self):
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content

        def _json(self, answer, status=200):
            self._send(status, json.dumps(answer).encode(), {"Content-Type": "application/json"})

        def _send(self, status, content, headers=None, *, body=True):
            self.send_response(status)
            for header, value in (headers or {}).items():
                self.send_header(header, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body and self.command != "HEAD":
                self.wfile.write(content)

    return Handler


@contextmanager
def serve_uploads(hub):
    """Answer requests until the block ends; ``hub.endpoint`` is the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
