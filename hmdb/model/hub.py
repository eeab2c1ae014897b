"""Finds a checkpoint: a local folder, or the Hub, from which only safetensors are downloaded."""

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

HUB_SECONDS = 2.5  # until the Hub counts as out of reach; its own client retries for 23 s
FILES = ("config.json", PIXELS_FILE, VIDEO_PIXELS_FILE, "*.safetensors", "*.safetensors.index.json")
# The `main` of these holds a pickle only; their safetensors wait in the pull request of the Hub's
# conversion robot, and others' are looked for. A pull request can move, and its commit is not pinned here;
# whatever it moves to is still read as safetensors only, which cannot carry code, and the answer names its commit.
SAFETENSORS_REVISIONS = {
    "facebook/timesformer-base-finetuned-k400": "refs/pr/5",
    "facebook/timesformer-base-finetuned-ssv2": "refs/pr/5",
    "google/vivit-b-16x2-kinetics400": "refs/pr/3",
}

CONVERSION_ROBOT = "SFconvertbot"


class HubUnreachableError(ModelError):
    """The Hub did not answer in time."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} cannot be fetched: the Hub is out of reach.")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint on this machine's disk.

    Attributes:
        folder: where config.json, preprocessor_config.json and the safetensors are.
        name: what to call it: its Hub id, its folder's name, "bundled".
        revision: its commit on the Hub; None for a local one.
    """

    folder: Path
    name: str
    revision: str | None = None


def resolve_checkpoint(model: str | Path, revision: str | None = None, *, online: bool = True) -> Checkpoint:
    """The checkpoint of a local folder or a Hub id, downloaded if need be.

    Args:
        online: whether the Hub may be asked; if not, only what an earlier download left is found.

    Raises:
        HubUnreachableError: the Hub does not answer and nothing was downloaded before.
        ModelError: there is no such folder or id, it holds no safetensors, or a revision of a folder.
    """
    folder = Path(model)
    if folder.is_dir():
        if revision is not None:
            raise ModelError(f"{folder.resolve().name} is a folder here and has no revisions, so no {revision}.")
        return Checkpoint(folder=folder, name=folder.resolve().name)
    name = str(model)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(f"{name} is neither a folder here nor a Hub id of the form owner/name.")
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
    """The revision to download: the one asked for, else `main` if it has safetensors, else a conversion of it."""
    if _has_safetensors(name, revision):
        return revision
    if revision is not None:
        raise ModelError(f"{name} has no weights as safetensors at {revision}, and pickles are not loaded.")
    for conversion in _conversions(name):
        try:
            if _has_safetensors(name, conversion):
                return conversion
        except HubUnreachableError:
            raise
        except ModelError:  # a pull request that is gone
            continue
    raise ModelError(
        f"{name} has no weights as safetensors on the Hub, and pickles are not loaded: "
        "ask for a conversion at https://huggingface.co/spaces/safetensors/convert."
    )


def _has_safetensors(name: str, revision: str | None) -> bool:
    return any(file.endswith(".safetensors") for file in _files_on_hub(name, revision))


def _conversions(name: str) -> Iterator[str]:
    """Revisions that may hold the weights as safetensors; not every pull request holds what its title says."""
    if name in SAFETENSORS_REVISIONS:
        yield SAFETENSORS_REVISIONS[name]
    try:
        for request in HfApi().get_repo_discussions(name, author=CONVERSION_ROBOT, discussion_type="pull_request"):
            if "safetensors" in request.title:
                yield f"refs/pr/{request.num}"
    except HfHubHTTPError as error:
        raise ModelError(f"The pull requests of {name} cannot be listed: {first_line(error)}") from error


def _files_on_hub(name: str, revision: str | None) -> list[str]:
    """Lists a repository, and is the one probe that tells whether the Hub can be reached.

    It runs in a thread of its own because no time-out of the client covers the name look-up.
    """
    answer: list[list[str]] = []
    failure: list[Exception] = []

    def ask() -> None:
        try:
            info = HfApi().model_info(name, revision=revision, timeout=HUB_SECONDS)
            answer.append([file.rfilename for file in info.siblings or []])
        except Exception as error:  # handed to the caller's thread, which sorts it
            failure.append(error)

    thread = threading.Thread(target=ask, name="hub-probe", daemon=True)
    thread.start()
    thread.join(HUB_SECONDS)
    if answer:
        return answer[0]
    cause = failure[0] if failure else None
    match cause:
        case GatedRepoError():
            raise ModelError(f"{name} is gated: accept its terms on the Hub and set HF_TOKEN.") from cause
        case RepositoryNotFoundError():
            raise ModelError(f"{name} is not on the Hub, or is private: set HF_TOKEN to see it.") from cause
        case RevisionNotFoundError():
            raise ModelError(f"{name} has no revision {revision}.") from cause
        case HfHubHTTPError():
            raise ModelError(f"The Hub refused {name}: {first_line(cause)}") from cause
        case ValueError():
            raise ModelError(f"{name} is not a valid Hub id.") from cause
    raise HubUnreachableError(name) from cause


def _cached_conversions(name: str) -> list[str]:
    """The conversions of a repository that may have been downloaded before."""
    if name in SAFETENSORS_REVISIONS:
        return [SAFETENSORS_REVISIONS[name]]
    refs = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type="model") / "refs"
    return [path.relative_to(refs).as_posix() for path in sorted(refs.glob("refs/pr/*"))]


def _download(name: str, revision: str | None, *, online: bool) -> Checkpoint:
    try:
        folder = snapshot_download(name, revision=revision, allow_patterns=list(FILES), local_files_only=not online)
    except Exception as error:  # the client raises its HTTP library's errors beside its own
        raise ModelError(f"{name} cannot be downloaded: {first_line(error)}") from error
    return Checkpoint(folder=Path(folder), name=name, revision=Path(folder).name)
