"""POST /upload: stores an upload in a folder of its own, within the limits on size, time and disk."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from gradio.route_utils import API_PREFIX, upload_fn
from gradio.routes import file_upload_statuses
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from hmdb.page.server.bodies import MAX_BODY, RequestRejectedError, with_timeouts
from hmdb.page.server.file_store import (
    UPLOADS,
    AddressQuotaError,
    FileStore,
    StorageFullError,
    StoredFolder,
    disk_usage,
)
from hmdb.page.server.session import request_address

UPLOAD = f"{API_PREFIX}/upload"
UPLOAD_ID = re.compile(r"\w{1,64}")  # under which Gradio's script polls for progress
PROGRESS_TTL_SECONDS = 10.0  # after an upload, in which its progress can still be asked for


class UploadEndpoint:
    """Answers an upload with the names of its files.

    An upload that is too large, breaks off or is malformed leaves nothing on the disk.

    Args:
        max_bytes: of all files of one upload together.
    """

    def __init__(self, files: FileStore, max_bytes: int) -> None:
        self._files, self._max_bytes = files, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Raises:
            RequestRejectedError: the upload is not stored.
        """
        request = Request(scope, with_timeouts(receive))
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._max_bytes + MAX_BODY:
            raise self._too_large()
        upload_id = request.query_params.get("upload_id", "")
        upload_id = upload_id if UPLOAD_ID.fullmatch(upload_id) else ""
        try:
            paths = await self._store(request, upload_id)
        except MultiPartException as error:
            if "maximum allowed size" in error.message and not error.message.startswith("Headers"):
                raise self._too_large() from error
            raise RequestRejectedError(400, "This upload cannot be read.") from error
        except (HTTPException, TypeError) as error:  # no form, a bad file name, or a part that is no file
            raise RequestRejectedError(400, "This upload cannot be read.") from error
        finally:
            if upload_id:
                file_upload_statuses.set_done(upload_id)
                asyncio.get_running_loop().call_later(
                    PROGRESS_TTL_SECONDS, file_upload_statuses.stop_tracking, upload_id
                )
        await JSONResponse([self._files.name_of(path) for path in paths])(scope, receive, send)

    async def _store(self, request: Request, upload_id: str) -> list[str]:
        with self._files.create_folder(UPLOADS, request_address(request)) as folder:
            limited = _limit_upload(
                request.receive, lambda count: reserve_upload(self._files, folder, count), self._max_bytes
            )
            paths, _, _ = await upload_fn(
                Request(request.scope, limited),
                folder.path,
                self._max_bytes,
                upload_id or None,
                upload_progress=file_upload_statuses if upload_id else None,
            )
            for path in folder.path.iterdir():
                if path.is_file():  # a leftover form part: Gradio moves files into subfolders
                    path.unlink()
            reserve_upload(self._files, folder, max(disk_usage(folder.path) - folder.size, 0))
        return list(paths)

    def _too_large(self) -> RequestRejectedError:
        detail = f"Files may be at most {self._max_bytes // 2**20} MB. Try a shorter or smaller one."
        return RequestRejectedError(413, detail)


def reserve_upload(files: FileStore, folder: StoredFolder, count: int) -> None:
    """Reserves bytes for an upload.

    Raises:
        RequestRejectedError: the client's quota is used up, or the store is full.
    """
    try:
        files.reserve_upload(folder, count)
    except AddressQuotaError as error:
        raise RequestRejectedError(429, str(error)) from error
    except StorageFullError as error:
        raise RequestRejectedError(507, str(error)) from error


def _limit_upload(receive: Receive, reserve: Callable[[int], None], limit: int) -> Receive:
    """`receive`, for an upload of at most `limit` bytes that reserves room on the disk for each chunk."""
    total = 0

    async def receive_limited() -> Message:
        nonlocal total
        message = await receive()
        count = len(message.get("body", b""))
        total += count
        if total > limit + MAX_BODY:
            raise MultiPartException("The request is larger than the maximum allowed size.")
        reserve(count)
        return message

    return receive_limited
