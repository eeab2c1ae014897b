"""Resolves a checkpoint: a local folder, or a Hub id, of which only safetensors are downloaded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.file_download import repo_folder_name

from hmdb.errors import ModelError
from hmdb.model.processor_defaults import PIXELS_FILE, VIDEO_PIXELS_FILE
from hmdb.text import first_line

HUB_SECONDS = 2.5  # time limit for reaching the Hub; its client would retry for 23 s
FILES = ("config.json", PIXELS_FILE, VIDEO_PIXELS_FILE, "*.safetensors", "*.safetensors.index.json")
# The main branch of these has only a pickle; their safetensors are in a pull request of the Hub's conversion robot,
# which is searched for in other repositories. A pull request may change and is not pinned to a commit: its files are
# still read as safetensors only, which cannot contain code, and predictions name the commit.
SAFETENSORS_REVISIONS = {
    "facebook/timesformer-base-finetuned-k400": "refs/pr/5",
    "facebook/timesformer-base-finetuned-ssv2": "refs/pr/5",
    "google/vivit-b-16x2-kinetics400": "refs/pr/3",
}

CONVERSION_ROBOT = "SFconvertbot"


class HubUnreachableError(ModelError):
    """The Hub did not answer in time."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} cannot be downloaded: the Hub cannot be reached.")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint on this machine's disk.

    Attributes:
        folder: contains config.json, preprocessor_config.json and the safetensors.
        name: Hub id, folder name or "bundled".
        revision: commit on the Hub; None for a local checkpoint.
    """

    folder: Path
    name: str
    revision: str | None = None


def resolve_checkpoint(model: str | Path, revision: str | None = None, *, online: bool = True) -> Checkpoint:
    """Finds the checkpoint of a local folder or a Hub id, and downloads it if necessary.

    Args:
        online: False to use only the local cache of the Hub.

    Raises:
        HubUnreachableError: the Hub does not answer and the checkpoint is not in the cache.
        ModelError: there is no such folder or id, it has no safetensors, or a revision was given for a folder.
    """
    folder = Path(model)
    if folder.is_dir():
        if revision is not None:
            raise ModelError(f"{folder.resolve().name} is a local folder, which has no revisions such as {revision}.")
        return Checkpoint(folder=folder, name=folder.resolve().name)
    name = str(model)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(f"{name} is neither a local folder nor a Hub id of the form owner/name.")
    cause = None
    if online:
        try:
            return _download(name, _safetensors_revision(name, revision), online=True)
        except HubUnreachableError as error:
            cause = error
    for kept in (revision,) if revision else (None, *_cached_conversions(name)):
        with suppress(ModelError):
            return _download(name, kept, online=False)
    raise HubUnreachableError(name) from cause


def _safetensors_revision(name: str, revision: str | None) -> str | None:
    """The revision to download: the requested one, or else `main` if it has safetensors, or else a conversion."""
    if _has_safetensors(name, revision):
        return revision
    if revision is not None:
        raise ModelError(f"{name} has no safetensors at {revision}, and pickles are not loaded.")
    for conversion in _conversions(name):
        try:
            if _has_safetensors(name, conversion):
                return conversion
        except HubUnreachableError:
            raise
        except ModelError:  # a pull request that was deleted
            continue
    raise ModelError(
        f"{name} has no safetensors on the Hub, and pickles are not loaded: "
        "request a conversion at https://huggingface.co/spaces/safetensors/convert."
    )


def _has_safetensors(name: str, revision: str | None) -> bool:
    return any(file.endswith(".safetensors") for file in _files_on_hub(name, revision))


def _conversions(name: str) -> Iterator[str]:
    """Revisions that may have safetensors; not every pull request contains what its title says."""
    if name in SAFETENSORS_REVISIONS:
        yield SAFETENSORS_REVISIONS[name]
    try:
        for request in HfApi().get_repo_discussions(name, author=CONVERSION_ROBOT, discussion_type="pull_request"):
            if "safetensors" in request.title:
                yield f"refs/pr/{request.num}"
    except HfHubHTTPError as error:
        raise ModelError(f"The pull requests of {name} cannot be listed: {first_line(error)}") from error


def _files_on_hub(name: str, revision: str | None) -> list[str]:
    """Lists a repository, within `HUB_SECONDS`.

    Runs in its own thread because no timeout of the client covers DNS.
    """
    files: list[list[str]] = []
    failure: list[Exception] = []

    def request() -> None:
        try:
            info = HfApi().model_info(name, revision=revision, timeout=HUB_SECONDS)
            files.append([file.rfilename for file in info.siblings or []])
        except Exception as error:  # classified below, in the caller's thread
            failure.append(error)

    thread = threading.Thread(target=request, name="hub-probe", daemon=True)
    thread.start()
    thread.join(HUB_SECONDS)
    if files:
        return files[0]
    cause = failure[0] if failure else None
    match cause:
        case GatedRepoError():
            raise ModelError(f"{name} is gated: accept its terms on the Hub and set HF_TOKEN.") from cause
        case RepositoryNotFoundError():
            raise ModelError(f"{name} is not on the Hub, or is private: set HF_TOKEN to access it.") from cause
        case RevisionNotFoundError():
            raise ModelError(f"{name} has no revision {revision}.") from cause
        case HfHubHTTPError():
            raise ModelError(f"The Hub refused {name}: {first_line(cause)}") from cause
        case ValueError():
            raise ModelError(f"{name} is not a valid Hub id.") from cause
    raise HubUnreachableError(name) from cause


def _cached_conversions(name: str) -> list[str]:
    """The conversions of a repository that may be in the local cache."""
    if name in SAFETENSORS_REVISIONS:
        return [SAFETENSORS_REVISIONS[name]]
    refs = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type="model") / "refs"
    return [path.relative_to(refs).as_posix() for path in sorted(refs.glob("refs/pr/*"))]


def _download(name: str, revision: str | None, *, online: bool) -> Checkpoint:
    try:
        folder = snapshot_download(name, revision=revision, allow_patterns=list(FILES), local_files_only=not online)
    except Exception as error:  # the client also raises errors of its HTTP library
        raise ModelError(f"{name} cannot be downloaded: {first_line(error)}") from error
    return Checkpoint(folder=Path(folder), name=name, revision=Path(folder).name)
