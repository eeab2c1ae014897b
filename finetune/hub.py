"""Pushes a finished run to the Hub in one commit."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import HfApi, get_token, hf_hub_download
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from safetensors.torch import load_file

from finetune import run_dir
from finetune.config.push import Publication
from finetune.config.recipe import SCRATCH_PREFIX
from finetune.models.finite import refuse_non_finite
from finetune.report import store
from finetune.report.page import EXAMPLES, FIGURES, REPORT_TEXT
from finetune.report.schema import Report, TrainingReport
from hmdb.errors import DataError
from hmdb.model.families import FAMILIES
from hmdb.text import first_line

MAX_NAME_LENGTH = 96  # of a repository on the Hub
PUSHED = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "README.md",
    run_dir.REPORT_FILE,
    REPORT_TEXT,
    f"{FIGURES}/confusion.png",
    f"{FIGURES}/calibration.png",
    "train.csv",
    "val.csv",
    "test.csv",
)
FRAMES = tuple(f"{FIGURES}/{kind}.png" for kind in EXAMPLES)
LOGS = (f"{run_dir.LOGS}/*",)  # with frames of some clips
REPLACED = ("*.safetensors", "*.safetensors.index.json", f"{FIGURES}/*", *LOGS)  # files of an earlier push


def patterns(publication: Publication) -> tuple[str, ...]:
    """Glob patterns of the files in a run's folder that a push uploads."""
    return (*PUSHED, *(() if publication.no_frames else FRAMES), *(LOGS if publication.logs else ()))


def default_name(init: str, data: str) -> str:
    """Makes a repository name from model and data: timesformer-base-my_videos."""
    model = init.removeprefix(SCRATCH_PREFIX).rstrip("/").rpartition("/")[2].lower()
    for family in FAMILIES:
        if family in model and not init.startswith(SCRATCH_PREFIX):
            model = family + ("-base" if "base" in model or "-b-" in model else "")
    name = f"{model}-{data.rpartition('/')[2].lower()}"
    return re.sub(r"[-.]{2,}", "-", re.sub(r"[^a-z0-9._-]+", "-", name))[:MAX_NAME_LENGTH].strip("-.")


def finished_run(output: Path) -> tuple[Report, TrainingReport]:
    """Reads the report of a complete run, and checks its weights.

    Raises:
        DataError: the folder holds no complete run.
        ModelError: its weights are not finite.
    """
    report = store.read(output)
    if report is None or report.training is None or not (output / "config.json").exists():
        raise DataError(f"{output} holds no finished run; --model takes the --output of one.")
    for path in output.glob("*.safetensors"):
        refuse_non_finite(load_file(path), output.name)
    return report, report.training


def claim(wanted: Publication, name: str, report: Report | None = None) -> Publication:
    """Creates the repository if there is none, and checks that the token may write to it.

    Args:
        name: of the repository, unless `wanted` has one.
        report: of the run that will be pushed, if it is finished.

    Returns:
        `wanted` with the repository's full name and actual visibility.

    Raises:
        DataError: there is no valid token, it may not write there, the Hub does not answer, the repository holds
            another run, or it is public and should be private.
    """
    if not get_token():
        raise DataError("There is no Hub token. Set HF_TOKEN to one that may write, or run `hf auth login`.")
    api = HfApi()
    repository = wanted.repository or name
    try:
        identity = api.whoami()
    except Exception as error:  # the client raises its HTTP library's errors beside its own
        raise _push_error(error, repository) from error
    if (identity.get("auth") or {}).get("accessToken", {}).get("role") == "read":
        raise DataError("The Hub token may only read. Create one that may write.")
    repository = repository if "/" in repository else f"{identity['name']}/{repository}"
    try:
        other = None if wanted.replace else _other_run(api, repository, report)
        if other:
            raise DataError(f"{repository} holds {other}. Add --replace to overwrite it, or name another repository.")
        api.create_repo(repository, private=wanted.private or None, exist_ok=True)
        private = bool(api.repo_info(repository).private)  # of one that was there already, the client changes nothing
        if wanted.private and not private:
            raise DataError(
                f"{repository} exists and is public, which --private does not change. "
                "Make it private in its settings on the Hub, or name another repository."
            )
    except DataError:
        raise
    except HFValidationError as error:
        raise DataError(f"{repository} is not a valid name for a repository on the Hub.") from error
    except Exception as error:
        raise _push_error(error, repository) from error
    return replace(wanted, repository=repository, private=private)


def _other_run(api: HfApi, repository: str, report: Report | None) -> str | None:
    """Describes another run in a repository; None if it holds none, or the same run."""
    try:
        files = api.list_repo_files(repository)
    except RepositoryNotFoundError:
        return None
    if not any(name.endswith(".safetensors") for name in files):
        return None
    if run_dir.REPORT_FILE not in files:
        return "a model already"
    with tempfile.TemporaryDirectory() as place:
        hf_hub_download(repository, run_dir.REPORT_FILE, local_dir=place)
        there = store.read(Path(place))
    if there is None or there == report:
        return None
    return f"another run already, {there.model} on {there.data.name}"


def contents(output: Path, wanted: Publication) -> list[str]:
    """Lists the files that a push uploads, in lines for people."""
    paths = [path for path in sorted(output.rglob("*")) if path.is_file()]
    names = [path.relative_to(output).as_posix() for path in paths]
    uploaded = [name for name in names if any(fnmatch(name, pattern) for pattern in patterns(wanted))]
    size = sum((output / name).stat().st_size for name in uploaded) / 1e6
    visibility = "private" if wanted.private else "public; --private changes that"
    lines = [f"To {wanted.repository} ({visibility}): {size:.1f} MB", f"  {', '.join(uploaded)}"]
    if set(uploaded) & set(FRAMES):
        lines.append("  The figures show frames of your clips; --no-frames leaves them out.")
    if any(name.startswith(f"{run_dir.LOGS}/") for name in uploaded):
        lines.append("  TensorBoard's files show frames, too; without --logs they are not uploaded.")
    return [*lines, "  report.json and the csv files name your clips."]


def push(output: Path, wanted: Publication) -> str:
    """Uploads weights, processor, report, figures and card in one commit.

    The large files are uploaded first and become visible with the commit, so a push that fails leaves `main` as it
    was and can be repeated.

    Returns:
        The URL of the commit.

    Raises:
        DataError: the push failed.
    """
    try:
        commit = HfApi().upload_folder(
            repo_id=wanted.repository,
            folder_path=output,
            allow_patterns=list(patterns(wanted)),
            delete_patterns=list(REPLACED),
            commit_message=f"{output.resolve().name}: weights, report and card",
        )
    except Exception as error:
        raise _push_error(error, wanted.repository) from error
    return str(commit.commit_url)


def _push_error(error: Exception, repository: str) -> DataError:
    status = getattr(getattr(error, "response", None), "status_code", None)
    again = "Nothing was changed there; `python -m finetune push --model DIR` tries again."
    if status == 401:
        return DataError("The Hub token is not valid. Set HF_TOKEN to a valid one, or run `hf auth login`.")
    if status == 403:
        return DataError(f"This token may not write to {repository}.")
    return DataError(f"The Hub refused {repository}: {first_line(error)} {again}")
