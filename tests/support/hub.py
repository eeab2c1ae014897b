"""A Hub on loopback, with as much of its protocol as its own client needs to create, push, list and download.

with HubServer() as hub:
    hub.use(monkeypatch, cache_folder)  # in this process
    subprocess.run(..., env={**os.environ, **hub.environment(cache_folder)})  # or in another
    commit = hub.add("someone/model", {"config.json": b"{}"})
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from huggingface_hub import ModelCard

TOKEN = "hf_" + "a" * 34
USER = "newton"
REGULAR_BYTES = 4096  # text files up to this size travel inside the commit, all else as LFS
TEXT = (".json", ".md", ".csv", ".txt", ".yaml", ".gitattributes")


@dataclass
class Repository:
    """A repository on the server.

    Attributes:
        commits: 40-digit commit -> path -> content.
        refs: branch, tag or refs/pr/N -> commit.
        pull_requests: (number, title, author).
    """

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    pull_requests: list[tuple[int, str, str]] = field(default_factory=list)

    def commit(self, files: Mapping[str, bytes], ref: str) -> str:
        seed = repr((len(self.commits), ref, sorted(files)))
        commit = hashlib.sha1(seed.encode(), usedforsecurity=False).hexdigest()
        self.commits[commit] = dict(files)
        self.refs[ref] = commit
        return commit

    def resolve(self, revision: str) -> str | None:
        return self.refs.get(revision) or (revision if revision in self.commits else None)


class HubServer:
    """A context manager; the server runs in a thread of its own until it is left.

    Attributes:
        url: of the server, without a slash at the end.
        repositories: by "models/owner/name" or "datasets/owner/name".
        tokens: the tokens that are known -> the user each belongs to.
        read_only: the tokens that may not write.
        requests: "METHOD path" of all that was asked, in order.
        jobs: what was asked of each job that was started, in order.
        broken: path pattern -> HTTP status to answer with instead; 0 breaks the connection.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.tokens = {TOKEN: USER}
        self.read_only: set[str] = set()
        self.requests: list[str] = []
        self.jobs: list[dict[str, Any]] = []
        self.broken: dict[str, int] = {}
        self.large: dict[str, bytes] = {}  # sha256 -> content
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(
        self,
        repo_id: str,
        files: Mapping[str, bytes] | Path,
        *,
        revision: str = "main",
        repo_type: str = "model",
        private: bool = False,
        gated: bool = False,
    ) -> str:
        """Puts files, given by path or as a folder, on a revision of a repository, made if need be.

        Returns:
            The commit.
        """
        if isinstance(files, Path):
            found = (path for path in sorted(files.rglob("*")) if path.is_file())
            files = {path.relative_to(files).as_posix(): path.read_bytes() for path in found}
        repository = self.repositories.setdefault(f"{repo_type}s/{repo_id}", Repository(private=private, gated=gated))
        return repository.commit(files, revision)

    def add_pull_request(self, repo_id: str, title: str, author: str, files: Mapping[str, bytes] | Path) -> str:
        """Adds files as the revision refs/pr/N of a pull request.

        Returns:
            The revision.
        """
        repository = self.repositories.setdefault(f"models/{repo_id}", Repository())
        number = len(repository.pull_requests) + 1
        repository.pull_requests.append((number, title, author))
        self.add(repo_id, files, revision=f"refs/pr/{number}")
        return f"refs/pr/{number}"

    def files(self, repo_id: str, revision: str = "main", repo_type: str = "model") -> dict[str, bytes]:
        """The files of a revision, by path; empty if it does not exist."""
        repository = self.repositories.get(f"{repo_type}s/{repo_id}", Repository())
        return repository.commits.get(repository.resolve(revision) or "", {})

    def environment(self, cache: Path, token: str | None = TOKEN) -> dict[str, str]:
        """Variables that make another process use this Hub, with a cache of its own."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(cache),
            "HF_HUB_CACHE": str(cache / "hub"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "0",
            "HF_TOKEN": token or "",
        }

    def use(self, patch: pytest.MonkeyPatch, cache: Path, token: str | None = TOKEN) -> None:
        """Makes this process use this Hub; its client has read its variables long ago."""
        for name, value in self.environment(cache, token).items():
            patch.setenv(name, value)
        constants = "huggingface_hub.constants."
        patch.setattr(constants + "ENDPOINT", self.url)
        patch.setattr(constants + "HUGGINGFACE_CO_URL_TEMPLATE", self.url + "/{repo_id}/resolve/{revision}/{filename}")
        patch.setattr(constants + "HF_HUB_CACHE", str(cache / "hub"))
        patch.setattr(constants + "HF_TOKEN_PATH", str(cache / "token"))
        patch.setattr(constants + "HF_HUB_OFFLINE", False)
        patch.setattr(constants + "HF_HUB_DISABLE_XET", True)
        patch.setattr("huggingface_hub.hf_api.api.endpoint", self.url)
        # the client of this version warns about its own LFS upload; the filter ends with the test
        warnings.filterwarnings("ignore", "Use 'content=", DeprecationWarning)


class _RefusalError(Exception):
    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def _answer(self) -> None:
        self._body = self._read_body()
        path = urlsplit(self.path).path
        self.hub.requests.append(f"{self.command} {path}")
        try:
            for pattern, status in self.hub.broken.items():
                if re.search(pattern, f"{self.command} {path}"):
                    if status == 0:
                        self.close_connection = True
                        return
                    raise _RefusalError(status, "the server is out of order")
            self._route(path)
        except _RefusalError as refusal:
            headers = {"X-Error-Message": str(refusal)} | ({"X-Error-Code": refusal.code} if refusal.code else {})
            self._json({"error": str(refusal)}, refusal.status, headers)

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while length := int(self.rfile.readline(), 16):
            body += self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _route(self, path: str) -> None:
        for pattern, method in _ROUTES:
            found = re.fullmatch(pattern, f"{self.command} {path}")
            if found:
                method(self, **{name: unquote(value) for name, value in found.groupdict(default="").items()})
                return
        raise _RefusalError(404, f"no such page: {path}")

    def _json(self, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self._bytes(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def _bytes(self, content: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _user(self) -> str | None:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not given:
            return None
        if given not in self.hub.tokens:
            raise _RefusalError(401, "Invalid credentials in Authorization header")
        return self.hub.tokens[given]

    def _repository(self, kind: str, name: str) -> Repository:
        repository = self.hub.repositories.get(f"{kind}/{name}")
        user = self._user()
        if repository is None or (repository.private and user != name.split("/")[0]):
            raise _RefusalError(401 if user is None else 404, "Repository not found", "RepoNotFound")
        return repository

    def _commit(self, kind: str, name: str, revision: str) -> tuple[str, dict[str, bytes]]:
        repository = self._repository(kind, name)
        commit = repository.resolve(revision)
        if commit is None:
            raise _RefusalError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit, repository.commits[commit]

    def _may_write(self, owner: str) -> None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        user = self._user()
        if user is None:
            raise _RefusalError(401, "Invalid username or password.")
        if user != owner or token in self.hub.read_only:
            raise _RefusalError(403, f"You don't have the rights to write in {owner}")

    def whoami(self) -> None:
        user = self._user()
        if user is None:
            raise _RefusalError(401, "Invalid username or password.")
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        role = "read" if token in self.hub.read_only else "write"
        self._json({"type": "user", "name": user, "orgs": [], "auth": {"accessToken": {"role": role}}})

    def validate(self) -> None:
        self._json({"errors": [], "warnings": []})

    def create(self) -> None:
        asked = json.loads(self._body)
        owner = asked.get("organization") or self._user() or ""
        self._may_write(owner)
        name, kind = f"{owner}/{asked['name']}", asked.get("type", "model") + "s"
        url = f"{self.hub.url}/{'' if kind == 'models' else kind + '/'}{name}"
        if f"{kind}/{name}" in self.hub.repositories:
            self._json({"error": "You already created this repo", "url": url, "name": name}, 409)
            return
        self.hub.repositories[f"{kind}/{name}"] = repository = Repository(private=asked.get("visibility") == "private")
        repository.commit({".gitattributes": b"*.safetensors filter=lfs\n"}, "main")
        self._json({"url": url, "name": name, "id": name})

    def info(self, kind: str, name: str, revision: str) -> None:
        commit, files = self._commit(kind, name, revision or "main")
        repository = self._repository(kind, name)
        card = ModelCard(files.get("README.md", b"").decode(), ignore_metadata_errors=True).data
        self._json(
            {
                "id": name,
                "sha": commit,
                "private": repository.private,
                "gated": repository.gated,
                "tags": [],
                "cardData": card.to_dict(),  # type: ignore[no-untyped-call]
                "siblings": [{"rfilename": path} for path in files],
            }
        )

    def tree(self, kind: str, name: str, revision: str) -> None:
        _, files = self._commit(kind, name, revision)
        self._json(
            [
                {"type": "file", "path": path, "size": len(content), "oid": _sha1(content)}
                | (
                    {"lfs": {"oid": _sha256(content), "size": len(content), "pointerSize": 1}}
                    if _large(path, 0)
                    else {}
                )
                for path, content in files.items()
            ]
        )

    def discussions(self, kind: str, name: str) -> None:
        query = parse_qs(urlsplit(self.path).query)
        author = query.get("author", [None])[0]
        found = [
            {
                "num": number,
                "title": title,
                "author": {"name": opener},
                "createdAt": "2024-01-01T00:00:00.000Z",
                "status": "open",
                "repo": {"name": name, "type": kind.removesuffix("s")},
                "isPullRequest": True,
            }
            for number, title, opener in self._repository(kind, name).pull_requests
            if author in (None, opener)
        ]
        self._json({"discussions": found, "count": len(found), "start": 0})

    def preupload(self, kind: str, name: str, revision: str) -> None:
        self._may_write(name.split("/")[0])
        _, held = self._commit(kind, name, revision)
        self._json(
            {
                "files": [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if _large(file["path"], file["size"]) else "regular",
                        "shouldIgnore": False,
                        "oid": _sha1(held[file["path"]]) if file["path"] in held else None,
                    }
                    for file in json.loads(self._body)["files"]
                ]
            }
        )

    def batch(self, kind: str, name: str) -> None:
        self._may_write(name.split("/")[0])
        objects = json.loads(self._body)["objects"]
        for each in objects:
            if each["oid"] not in self.hub.large:
                href = f"{self.hub.url}/lfs/{each['oid']}"
                each["actions"] = {"upload": {"href": href, "header": {}}, "verify": {"href": f"{href}/verify"}}
        self._json({"transfer": "basic", "objects": objects})

    def store(self, oid: str) -> None:
        if _sha256(self._body) != oid:
            raise _RefusalError(400, "the content does not fit its name")
        self.hub.large[oid] = self._body
        self._json({})

    def verify(self, oid: str) -> None:
        self._json({}, 200 if oid in self.hub.large else 404)

    def start_job(self, owner: str) -> None:
        self._may_write(owner)
        self.hub.jobs.append(asked := json.loads(self._body))
        number = f"{len(self.hub.jobs):024x}"
        seen = {key: asked[key] for key in ("command", "flavor", "dockerImage")}
        self._json(
            {"id": number, "owner": {"id": "1", "name": owner, "type": "user"}, "status": {"stage": "RUNNING"}, **seen}
        )

    def commit(self, kind: str, name: str, revision: str) -> None:
        self._may_write(name.split("/")[0])
        _, held = self._commit(kind, name, revision)
        files = dict(held)
        for line in self._body.splitlines():
            entry = json.loads(line)
            key, value = entry["key"], entry["value"]
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif key == "deletedFile":
                files.pop(value["path"], None)
            elif key == "deletedFolder":
                files = {path: content for path, content in files.items() if not path.startswith(value["path"])}
        commit = self._repository(kind, name).commit(files, revision)
        self._json({"commitUrl": f"{self.hub.url}/{name}/commit/{commit}", "commitOid": commit, "success": True})

    def resolve(self, kind: str, name: str, revision: str, file: str) -> None:
        commit, files = self._commit(kind or "models", name, revision)
        if self._repository(kind or "models", name).gated and self._user() is None:
            raise _RefusalError(401, "Access to this model is restricted.", "GatedRepo")
        if file not in files:
            raise _RefusalError(404, "Entry not found", "EntryNotFound")
        content = files[file]
        etag = _sha256(content) if _large(file, 0) else _sha1(content)
        self._bytes(content, 200, {"X-Repo-Commit": commit, "ETag": f'"{etag}"', "X-Linked-Size": str(len(content))})


_ID = r"(?P<name>[^/]+/[^/]+)"
_API = rf"/api/(?P<kind>models|datasets|spaces)/{_ID}"
_ROUTES = (
    (r"GET /api/whoami-v2", _Handler.whoami),
    (r"POST /api/validate-yaml", _Handler.validate),
    (r"POST /api/repos/create", _Handler.create),
    (r"POST /api/jobs/(?P<owner>[^/]+)", _Handler.start_job),
    (rf"GET {_API}/tree/(?P<revision>[^/]+)", _Handler.tree),
    (rf"GET {_API}/discussions", _Handler.discussions),
    (rf"GET {_API}(/revision/(?P<revision>[^/]+))?", _Handler.info),
    (rf"POST {_API}/preupload/(?P<revision>[^/]+)", _Handler.preupload),
    (rf"POST {_API}/commit/(?P<revision>[^/]+)", _Handler.commit),
    (rf"POST /((?P<kind>datasets|spaces)/)?{_ID}\.git/info/lfs/objects/batch", _Handler.batch),
    (r"PUT /lfs/(?P<oid>\w+)", _Handler.store),
    (r"POST /lfs/(?P<oid>\w+)/verify", _Handler.verify),
    (rf"(GET|HEAD) /((?P<kind>datasets|spaces)/)?{_ID}/resolve/(?P<revision>[^/]+)/(?P<file>.+)", _Handler.resolve),
)


def _large(path: str, size: int) -> bool:
    return size > REGULAR_BYTES or not path.endswith(TEXT)


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
