"""A server that answers as the Hub does, to those who download and to those who publish."""

import base64
import hashlib
import json
import re
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from serving import Answering, serving

LARGE = (".safetensors",)  # what goes another way than with the commit


class Hub:
    """Repositories: folders that were added, one for each commit, and in memory what was published here.

    ``files`` has the content of each published file, by (repository, branch) and name. ``requests`` lists
    what was asked for, as (method, path); ``refuse`` names repositories that may not be written to.
    """

    def __init__(self, owner="me"):
        self.owner = owner
        self.folders = {}  # (repository, commit): folder
        self.branches = {}  # (repository, branch): commit
        self.files = {}
        self.large = {}  # by hash
        self.requests = []
        self.private = {}  # by name: whether all who would create it asked for that
        self.endpoint = ""

    def add(self, repository, folder, commit=None):
        """Put a folder there; its commit is made from the name unless it is given."""
        commit = commit or hashlib.sha1(f"{repository} {folder}".encode()).hexdigest()
        self.folders[repository, commit] = Path(folder)
        self.branches[repository, "main"] = commit
        return commit

    def find(self, repository, revision):
        """Return (commit, content of each file by name) of a revision, or the name of the error."""
        if not any(name == repository for name, _ in (*self.folders, *self.files)):
            return "RepoNotFound"
        commit = self.branches.get((repository, revision), revision)
        folder = self.folders.get((repository, commit))
        if folder is not None:
            paths = sorted(path for path in folder.rglob("*") if path.is_file())
            return commit, {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        for (name, branch), files in self.files.items():
            commit = _digest(*(part for file in sorted(files) for part in (file.encode(), files[file])))
            if name == repository and revision in {branch, commit}:
                return commit, files
        return "RevisionNotFound"


def _digest(*parts):
    return hashlib.sha1(b"\0".join(parts)).hexdigest()


class _Handler(Answering):
    def __init__(self, hub, *arguments):
        self.hub = hub
        super().__init__(*arguments)  # which answers

    def do_GET(self):
        path = self._asked()
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?/?", path):
            self._list(match[1], match[3] or "main", tree=match[2] == "tree")
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(match[1], match[2], match[3])
        else:
            self.send(404)

    do_HEAD = do_GET

    def _list(self, repository, revision, *, tree):
        found = self.hub.find(repository, revision)
        if isinstance(found, str):
            self.send(404, b"{}", {"X-Error-Code": found})
            return
        commit, files = found
        if tree:
            self._json(
                [
                    {"type": "file", "path": name, "size": len(content), "oid": _digest(content)}
                    for name, content in files.items()
                ]
            )
            return
        names = [{"rfilename": name} for name in files]
        private = self.hub.private.get(repository, False)
        self._json(
            {"id": repository, "modelId": repository, "sha": commit, "siblings": names, "private": private}
        )

    def _file(self, repository, revision, name):
        found = self.hub.find(repository, revision)
        if isinstance(found, str) or name not in found[1]:
            code = found if isinstance(found, str) else "EntryNotFound"
            self.send(404, headers={"X-Error-Code": code})
            return
        commit, files = found
        headers = {"ETag": f'"{_digest(files[name])}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        self.send(200, files[name], headers)

    def do_PUT(self):
        self._asked()
        content = self._content()
        self.hub.large[hashlib.sha256(content).hexdigest()] = content
        self.send(200)

    def do_POST(self):
        hub, content = self.hub, self._content()
        path = self._asked()
        if path == "/api/repos/create":
            wanted = json.loads(content)
            name = f"{wanted.get('organization') or hub.owner}/{wanted['name']}"
            there = (name, "main") in hub.files
            hub.files.setdefault((name, "main"), {})
            hub.private[name] = hub.private.get(name, True) and wanted.get("visibility") == "private"
            self._json({"url": f"{hub.endpoint}/{name}", "id": name, "name": name}, 409 if there else 200)
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/branch/(.+)", path):
            hub.files.setdefault((match[1], match[2]), dict(hub.files[match[1], "main"]))
            self._json({})
        elif re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/(.+)", path):
            names = [file["path"] for file in json.loads(content)["files"]]
            modes = {name: "lfs" if name.endswith(LARGE) else "regular" for name in names}
            files = [{"path": n, "uploadMode": modes[n], "shouldIgnore": False} for n in names]
            self._json({"files": files})
        elif re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            upload = {"actions": {"upload": {"href": f"{hub.endpoint}/store"}}}
            objects = [{**each, **upload} for each in json.loads(content)["objects"]]
            self._json({"transfer": "basic", "objects": objects})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/(.+)", path):
            self._commit(match[1], match[2], content)
        else:
            self._json({"error": path}, 404)

    def _commit(self, repository, branch, content):
        hub = self.hub
        files = hub.files.setdefault((repository, branch), {})
        for line in content.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = hub.large[value["oid"]]
        commit = hub.find(repository, branch)[0]
        answer = {"commitUrl": f"{hub.endpoint}/{repository}/commit/{commit}", "commitOid": commit}
        self._json(answer)

    def _asked(self):
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
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
        self.send(status, json.dumps(answer).encode(), {"Content-Type": "application/json"})


@contextmanager
def serve(hub):
    """Answer requests until the block ends; ``hub.endpoint`` is the address."""
    with serving(partial(_Handler, hub)) as hub.endpoint:
        yield hub


def point_to(monkeypatch, hub, cache, *, offline=False):
    """Let the Hub's library in this process talk to a server of ours, with an empty cache of its own."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
