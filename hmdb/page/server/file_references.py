"""Files named in requests and responses.

Gradio treats any path inside its folder as the client's own file and fetches any URL it is given. Here a request can
name uploads and examples only. The name of an upload holds 192 random bits that only its client was sent, so whoever
names it is its owner. Responses name files relative to the page's folder, and do not reveal its path.
"""

from __future__ import annotations

import os
from typing import Any

import orjson

from hmdb.page.server.bodies import (
    MAX_TEXT,
    RequestRejectedError,
    long_text_message,
    parse_json,
    reject_deep_json,
)
from hmdb.page.server.file_store import UPLOADS, FileStore


class FileReferences:
    """Checks files named in requests, and strips the store's path from responses."""

    def __init__(self, files: FileStore) -> None:
        self._files = files
        self._root = f"{files.root}{os.sep}".encode()

    def strip_root(self, text: bytes) -> bytes:
        """The text with absolute paths of files in the store made relative."""
        return text.replace(self._root, b"")

    def validate(self, body: bytes) -> bytes:
        """A JSON body with every file checked and reduced to its path in the store.

        Raises:
            RequestRejectedError: it is not JSON, is too deep, has a text that is too long, or names a file that is
                neither an upload nor an example.
        """
        if not body:
            return body
        message = parse_json(body)
        with reject_deep_json():
            if isinstance(message, dict) and "event_data" in message:  # describes a click; no file in it is read
                message["event_data"] = _drop_files(message["event_data"])
            return orjson.dumps(self._validate(message))

    def _validate(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._validate(item) for item in value]
        if not isinstance(value, dict):
            if isinstance(value, str) and len(value) > MAX_TEXT:
                raise RequestRejectedError(400, long_text_message(value))
            return value
        if value.get("path") is None and str(value.get("url")).startswith("data:image/jpeg;base64,"):
            return {"path": None, "url": value["url"], "meta": {"_type": "gradio.FileData"}}  # a camera's frame
        if "path" not in value:
            return {key: self._validate(item) for key, item in value.items()}
        path = self._files.resolve(value["path"], UPLOADS) if isinstance(value["path"], str) else None
        if path is None:
            raise RequestRejectedError(400, "This video does not exist or has expired. Upload it again.")
        return {"path": str(path), "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}


def _drop_files(value: Any) -> Any:
    if isinstance(value, list):
        return [_drop_files(item) for item in value]
    if isinstance(value, dict):
        return None if "path" in value else {key: _drop_files(item) for key, item in value.items()}
    return value
