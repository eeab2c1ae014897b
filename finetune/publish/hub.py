"""A finished run -> a repository on the Hub, in one commit."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HFValidationError

from finetune import run_folder as folder
from finetune.data.source import DataSource
from finetune.data.splits import read_splits
from finetune.publish import report as reports
from finetune.publish.pages import FIGURES, REPORT_TEXT
from finetune.publish.report import Report, TrainingReport
from finetune.recipe import SCRATCH_PREFIX, Recipe
from hmdb.errors import DataError
from hmdb.text import first_line

LARGEST_NAME = 96  # characters that the Hub takes
PUSHED = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "README.md",
    folder.REPORT_FILE,
    REPORT_TEXT,
    f"{FIGURES}/*.png",
    "runs/*",
    "train.csv",
    "val.csv",
    "test.csv",
)
REPLACED = ("*.safetensors", "*.safetensors.index.json", f"{FIGURES}/*", "runs/*")  # what an earlier push left


def short_name(init: str, classes: int) -> str:
    """A repository name from what a model is and how many classes it knows: timesformer-base-hmdb25."""
    model = init.removeprefix(SCRATCH_PREFIX).rstrip("/").rpartition("/")[2].lower()
    for family in ("timesformer", "vivit"):
        if family in model and not init.startswith(SCRATCH_PREFIX):
            size = "-base" if "base" in model or "-b-" in model else ""
            model = family + size
    return f"{model}-hmdb{classes}"[:LARGEST_NAME]


def default_name(recipe: Recipe, source: DataSource) -> str:
    """The name of the repository that a run will be pushed to, if none is given."""
    return short_name(recipe.init, len(read_splits(source, recipe.seed).classes))


def name_of(report: Report, training: TrainingReport) -> str:
    """The same, of a run that is finished."""
    return short_name(training.recipe.init, len(report.classes))


def finished_run(output: Path) -> tuple[Report, TrainingReport]:
    """The report of a run that is complete.

    Raises:
        DataError: there is none, so there is nothing to push.
    """
    report = reports.read(output)
    if report is None or report.training is None or not (output / "config.json").exists():
        raise DataError(f"{output} holds no finished run; --model takes the --output of one.")
    return report, report.training


def claim(repository: str, *, private: bool) -> str:
    """Makes the repository, or finds it made, which shows that the token may write there.

    Args:
        repository: "owner/name", or a name alone for one of the token's owner.

    Returns:
        "owner/name".

    Raises:
        DataError: no token, a wrong one, no right to write there, or no Hub.
    """
    if not get_token():
        raise DataError("There is no Hub token. Set HF_TOKEN to one with the right to write, or run `hf auth login`.")
    api = HfApi()
    try:
        identity = api.whoami()
    except Exception as error:  # the client raises its HTTP library's errors beside its own
        raise _refused(error, repository) from error
    if (identity.get("auth") or {}).get("accessToken", {}).get("role") == "read":
        raise DataError("The Hub token may only read. Make one with the right to write.")
    name = repository if "/" in repository else f"{identity['name']}/{repository}"
    try:
        api.create_repo(name, private=private or None, exist_ok=True)
    except HFValidationError as error:
        raise DataError(f"{name} is no name for a repository on the Hub.") from error
    except Exception as error:
        raise _refused(error, name) from error
    return name


def push(output: Path, repository: str) -> str:
    """Uploads weights, processor, report, figures, logs and card in one commit.

    The large files go first and are nobody's until the commit names them all, so a push that breaks
    leaves `main` as it was and can be repeated.

    Returns:
        The address of the commit.

    Raises:
        DataError: the push broke.
    """
    try:
        commit = HfApi().upload_folder(
            repo_id=repository,
            folder_path=output,
            allow_patterns=list(PUSHED),
            delete_patterns=list(REPLACED),
            commit_message=f"{output.resolve().name}: weights, report and card",
        )
    except Exception as error:
        raise _refused(error, repository) from error
    return str(commit.commit_url)


def _refused(error: Exception, repository: str) -> DataError:
    status = getattr(getattr(error, "response", None), "status_code", None)
    again = "Nothing was changed there; `python -m finetune push --model DIR` tries again."
    if status == 401:
        return DataError("The Hub does not know this token. Set HF_TOKEN to a valid one, or run `hf auth login`.")
    if status == 403:
        return DataError(f"This token has no right to write to {repository}.")
    return DataError(f"The Hub did not take {repository}: {first_line(error)} {again}")
