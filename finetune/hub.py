"""A finished run -> a repository on the Hub, in one commit."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import HfApi, get_token, hf_hub_download
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from safetensors.torch import load_file

from finetune import run_dir as folder
from finetune.config.push import Publication
from finetune.config.recipe import SCRATCH_PREFIX
from finetune.models.finite import refuse_non_finite
from finetune.report import schema as reports
from finetune.report.page import EXAMPLES, FIGURES, REPORT_TEXT
from finetune.report.schema import Report, TrainingReport
from hmdb.errors import DataError
from hmdb.model.families import FAMILIES
from hmdb.text import first_line

LARGEST_NAME = 96  # characters that the Hub takes
ALWAYS = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "README.md",
    folder.REPORT_FILE,
    REPORT_TEXT,
    f"{FIGURES}/confusion.png",
    f"{FIGURES}/calibration.png",
    "train.csv",
    "val.csv",
    "test.csv",
)
FRAMES = tuple(f"{FIGURES}/{kind}.png" for kind in EXAMPLES)
LOGS = (f"{folder.LOGS}/*",)  # with frames of some clips
REPLACED = ("*.safetensors", "*.safetensors.index.json", f"{FIGURES}/*", *LOGS)  # what an earlier push left


def patterns(publication: Publication) -> tuple[str, ...]:
    """Glob patterns of the files in a run's folder that a push uploads."""
    return (*ALWAYS, *(() if publication.no_frames else FRAMES), *(LOGS if publication.logs else ()))


def default_name(init: str, data: str) -> str:
    """A repository name from what a model is and what it was trained on: timesformer-base-my_videos."""
    model = init.removeprefix(SCRATCH_PREFIX).rstrip("/").rpartition("/")[2].lower()
    for family in FAMILIES:
        if family in model and not init.startswith(SCRATCH_PREFIX):
            model = family + ("-base" if "base" in model or "-b-" in model else "")
    name = f"{model}-{data.rpartition('/')[2].lower()}"
    return re.sub(r"[-.]{2,}", "-", re.sub(r"[^a-z0-9._-]+", "-", name))[:LARGEST_NAME].strip("-.")


def finished_run(output: Path) -> tuple[Report, TrainingReport]:
    """The report of a run that is complete.

    Raises:
        DataError: there is none, so there is nothing to push.
        ModelError: its weights are not finite.
    """
    report = reports.read(output)
    if report is None or report.training is None or not (output / "config.json").exists():
        raise DataError(f"{output} holds no finished run; --model takes the --output of one.")
    for path in output.glob("*.safetensors"):
        refuse_non_finite(load_file(path), output.name)
    return report, report.training


def claim(wanted: Publication, name: str, report: Report | None = None) -> Publication:
    """Makes the repository, or finds it made, which shows that the token may write there.

    Args:
        name: of the repository, where none is wanted by name.
        report: of the run that will be pushed, if it is finished.

    Returns:
        The same, with the repository's full name, and whether it is private.

    Raises:
        DataError: no token, a wrong one, no right to write there, no Hub, another run is there already, or the
            repository is, and everybody sees it where only the owner should.
    """
    if not get_token():
        raise DataError("There is no Hub token. Set HF_TOKEN to one with the right to write, or run `hf auth login`.")
    api = HfApi()
    repository = wanted.repository or name
    try:
        identity = api.whoami()
    except Exception as error:  # the client raises its HTTP library's errors beside its own
        raise _refused(error, repository) from error
    if (identity.get("auth") or {}).get("accessToken", {}).get("role") == "read":
        raise DataError("The Hub token may only read. Make one with the right to write.")
    repository = repository if "/" in repository else f"{identity['name']}/{repository}"
    try:
        other = None if wanted.replace else _other_run(api, repository, report)
        if other:
            raise DataError(
                f"{repository} holds {other}. --replace puts this run in its place; or name another repository."
            )
        api.create_repo(repository, private=wanted.private or None, exist_ok=True)
        private = bool(api.repo_info(repository).private)  # of one that was there already, the client changes nothing
        if wanted.private and not private:
            raise DataError(
                f"{repository} is there already and everybody can see it, --private or not. "
                "Make it private in its settings on the Hub, or name another repository."
            )
    except DataError:
        raise
    except HFValidationError as error:
        raise DataError(f"{repository} is no name for a repository on the Hub.") from error
    except Exception as error:
        raise _refused(error, repository) from error
    return replace(wanted, repository=repository, private=private)


def _other_run(api: HfApi, repository: str, report: Report | None) -> str | None:
    """What another run left in a repository, in words; None where there is nothing, or the same run."""
    try:
        files = api.list_repo_files(repository)
    except RepositoryNotFoundError:
        return None
    if not any(name.endswith(".safetensors") for name in files):
        return None
    if folder.REPORT_FILE not in files:
        return "a model already"
    with tempfile.TemporaryDirectory() as place:
        hf_hub_download(repository, folder.REPORT_FILE, local_dir=place)
        there = reports.read(Path(place))
    if there is None or there == report:
        return None
    return f"another run already, {there.model} on {there.data.name}"


def contents(output: Path, wanted: Publication) -> list[str]:
    """What a push takes along, in lines for people."""
    paths = [path for path in sorted(output.rglob("*")) if path.is_file()]
    names = [path.relative_to(output).as_posix() for path in paths]
    taken = [name for name in names if any(fnmatch(name, pattern) for pattern in patterns(wanted))]
    size = sum((output / name).stat().st_size for name in taken) / 1e6
    who = "only you and those you let in see it" if wanted.private else "everybody can see it; --private changes that"
    lines = [f"To {wanted.repository} ({who}): {size:.1f} MB", f"  {', '.join(taken)}"]
    if set(taken) & set(FRAMES):
        lines.append("  The figures show frames of your clips; --no-frames leaves them out.")
    if any(name.startswith(f"{folder.LOGS}/") for name in taken):
        lines.append("  TensorBoard's files show frames, too; without --logs they stay here.")
    return [*lines, "  report.json and the csv files name your clips."]


def push(output: Path, wanted: Publication) -> str:
    """Uploads weights, processor, report, figures and card in one commit.

    The large files go first and are nobody's until the commit names them all, so a push that breaks
    leaves `main` as it was and can be repeated.

    Returns:
        The address of the commit.

    Raises:
        DataError: the push broke.
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
        raise _refused(error, wanted.repository) from error
    return str(commit.commit_url)


def _refused(error: Exception, repository: str) -> DataError:
    status = getattr(getattr(error, "response", None), "status_code", None)
    again = "Nothing was changed there; `python -m finetune push --model DIR` tries again."
    if status == 401:
        return DataError("The Hub does not know this token. Set HF_TOKEN to a valid one, or run `hf auth login`.")
    if status == 403:
        return DataError(f"This token has no right to write to {repository}.")
    return DataError(f"The Hub did not take {repository}: {first_line(error)} {again}")
