"""Teaching from few clips: `python -m benchmarks.teach features.npz --data DIR ...`, then `... features.npz`.

The features of each data set are computed once and kept in a file. With `--data DIR` (the clips of HMDB_simp as
`<class>/<clip>`, with train.csv and val.csv), `--people DIR` (from `python -m drawings.make_people DIR`) or
`--negatives DIR` (`<kind>/<clip>`) their features are added to it, which takes most of the time. Then the table is
printed: heads and features on each data set, what leaving out promised, and the strangers that were let through.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from unittest import mock

import numpy as np
from sklearn.linear_model import LogisticRegression, RidgeClassifier

from hmdb.clips.clip import ClipSpec
from hmdb.recognizer import Recognizer
from hmdb.teaching import fitting
from hmdb.teaching.features import ASSEMBLIES, NONE, ClipFeatures, assemble
from hmdb.teaching.fitting import Taught, fit
from hmdb.teaching.head import Backbone

CLASSES, CLIPS, DRAWS, KEPT = 10, 5, 10, 15  # of HMDB_simp: classes, clips of each, draws of these, clips to draw from
FOLDS = 3  # of people
NEGATIVES = 20  # to teach with, of the first half of the kinds; the second half are the strangers
EVERY = 2  # of the negatives, whose features take long

Clips = Sequence[ClipFeatures]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.teach")
    parser.add_argument("features", type=Path, help="npz file of features, read or written")
    parser.add_argument("--data", type=Path, help="folder of HMDB_simp")
    parser.add_argument("--people", type=Path, help="folder of drawn people")
    parser.add_argument("--negatives", type=Path, help="folder of real strangers, to measure with")
    parser.add_argument("--mirror", action="store_true", help="compute mirrored copies too")
    options = parser.parse_args()
    clips = read(options.features)
    compute = [
        ("people", sorted(options.people.glob("*/*.mp4")) if options.people else []),
        *((part, split(options.data, part)) for part in ("train", "val") if options.data),
        ("negatives", sorted(each for each in options.negatives.glob("*/*") if each.is_dir())[::EVERY])
        if options.negatives
        else ("negatives", []),
    ]
    recognizer = Recognizer.from_pretrained(dtype="float32") if any(paths for _, paths in compute) else None
    for name, paths in compute:
        if recognizer and paths:
            clips[name] = features(recognizer, name, paths, mirror=options.mirror)
            write(options.features, clips)
    print(table(clips))


def split(folder: Path, part: str) -> list[Path]:
    """The first clips of the first classes of a split, all of them for val."""
    with (folder / f"{part}.csv").open(encoding="utf-8") as file:
        rows = sorted((row["class"], row["video_name"]) for row in csv.DictReader(file))
    classes = sorted({label for label, _ in rows})[:CLASSES]
    return [
        folder / label / name
        for each in classes
        for label, name in [row for row in rows if row[0] == each][: KEPT if part == "train" else None]
    ]


def features(recognizer: Recognizer, name: str, paths: Iterable[Path], *, mirror: bool) -> list[ClipFeatures]:
    """The features of clips in folders of their action; people are groups by the name before the underscore."""
    began, found = time.monotonic(), []
    for path in paths:
        clip = recognizer.read(path, sampler="equidistant")
        group = path.stem.split("_")[0] if name == "people" else path.name
        found.append(recognizer.clip_features(clip, path.parent.name, group=group, mirror=mirror))
    seconds = time.monotonic() - began
    print(f"{name}: {len(found)} clips in {seconds:.0f} s, {seconds / max(len(found), 1):.2f} s each", flush=True)
    return found


def table(clips: dict[str, list[ClipFeatures]]) -> str:
    """The table of heads and features, in Markdown: means over folds or draws."""
    tasks: dict[str, list[tuple[Clips, Clips]]] = {}
    if "people" in clips:
        tasks["people"] = list(people_folds(clips["people"]))
    if "train" in clips and "val" in clips:
        tasks["HMDB_simp"] = [(draw(clips["train"], seed), clips["val"]) for seed in range(DRAWS)]
    lines = ["| data set | head | features | right | left out promised | seconds |", "|---|---|---|---|---|---|"]
    for name, task in tasks.items():
        for assembly in ASSEMBLIES:
            for head, model in (("ridge", RidgeClassifier(alpha=100.0)), ("logistic", LogisticRegression(C=0.02))):
                shares = [by_library(model, train, test, assembly) for train, test in task]
                lines.append(f"| {name} | {head} | {assembly} | {np.mean(shares):.1%} | | |")
        for chosen in (*((each,) for each in ASSEMBLIES), ASSEMBLIES):
            began = time.process_time()
            with mock.patch.object(fitting, "ASSEMBLIES", chosen):
                heads = [teach(train) for train, _ in task]
            seconds = (time.process_time() - began) / len(task)
            shares = [float(right(each, test).mean()) for each, (_, test) in zip(heads, task, strict=True)]
            promised = np.mean([each.validation.accuracy or np.nan for each in heads])
            what = chosen[0] if len(chosen) == 1 else "chosen"
            lines.append(f"| {name} | LDA | {what} | {np.mean(shares):.1%} | {promised:.1%} | {seconds:.2f} |")
            lines[-1] += f" <!-- {' '.join(f'{share:.2f}' for share in shares)} -->"
    if "negatives" in clips:
        lines += ["", "| data set | taught with | right answers kept | strangers let through | promised |"]
        lines.append("|---|---|---|---|---|")
        for name, task in tasks.items():
            lines += [strangers_row(name, task, clips["negatives"], count) for count in (0, NEGATIVES)]
    return "\n".join(lines)


def strangers_row(name: str, task: Sequence[tuple[Clips, Clips]], negatives: Clips, count: int) -> str:
    """The answers that are kept and the strangers that are let through, who are of kinds that were not taught."""
    kinds = sorted({clip.label for clip in negatives})
    near = [clip for clip in negatives if clip.label in kinds[: len(kinds) // 2]]
    strangers = [clip for clip in negatives if clip.label not in kinds[: len(kinds) // 2]]
    kept, accepted, promised = [], [], []
    for seed, (train, test) in enumerate(task):
        chosen = np.random.default_rng(seed).choice(len(near), count, replace=False)
        taught = teach([*train, *(as_negative(near[index]) for index in chosen)])
        kept.append(known(taught, test)[right(taught, test)].mean())
        accepted.append(known(taught, strangers).mean())
        validation = taught.validation
        promised.append(validation.strangers_accepted / max(validation.strangers, 1))
    what = f"{count} negatives" if count else "no negatives"
    return f"| {name} | {what} | {np.mean(kept):.0%} | {np.mean(accepted):.0%} | {np.mean(promised):.0%} |"


def as_negative(clip: ClipFeatures) -> ClipFeatures:
    return ClipFeatures(
        label=NONE, parts=clip.parts, mirrored=clip.mirrored, source=clip.source, group=f"none {clip.group}"
    )


def people_folds(clips: Clips) -> Iterable[tuple[Clips, Clips]]:
    people = sorted({clip.group or "" for clip in clips})
    for fold in range(FOLDS):
        held = people[fold::FOLDS]
        yield [clip for clip in clips if clip.group not in held], [clip for clip in clips if clip.group in held]


def draw(clips: Clips, seed: int) -> Clips:
    rng = np.random.default_rng(seed)
    chosen: list[ClipFeatures] = []
    for label in sorted({clip.label for clip in clips}):
        own = [clip for clip in clips if clip.label == label]
        chosen += [own[index] for index in rng.choice(len(own), CLIPS, replace=False)]
    return chosen


def teach(clips: Clips) -> Taught:
    return fit(clips, Backbone(name="", revision=None, sha256="", width=clips[0].parts.shape[1]), ClipSpec())


def by_library(model: RidgeClassifier | LogisticRegression, train: Clips, test: Clips, assembly: str) -> float:
    """The share of test clips that scikit-learn's classifier names right, on standardized features."""
    values = assemble(np.stack([clip.parts for clip in train]), assembly)
    mean, spread = values.mean(axis=0), values.std(axis=0) + 1e-6
    model.fit((values - mean) / spread, [clip.label for clip in train])
    others = (assemble(np.stack([clip.parts for clip in test]), assembly) - mean) / spread
    return float(np.mean(model.predict(others) == [clip.label for clip in test]))


def parts_of(taught: Taught, clips: Clips) -> np.ndarray:
    return np.stack([clip.parts for clip in clips])[:, : taught.head.num_views]


def right(taught: Taught, clips: Clips) -> np.ndarray:
    named = taught.head.logits(parts_of(taught, clips)).argmax(axis=1)
    return np.array([taught.head.labels[index] == clip.label for index, clip in zip(named, clips, strict=True)])


def known(taught: Taught, clips: Clips) -> np.ndarray:
    parts = parts_of(taught, clips)
    return np.array([score is None or score >= 0 for score in taught.head.scores(parts, taught.head.logits(parts))])


def write(path: Path, clips: dict[str, list[ClipFeatures]]) -> None:
    rows = [(name, clip) for name, each in clips.items() for clip in each]
    mirrored = [clip.parts if clip.mirrored is None else clip.mirrored for _, clip in rows]
    np.savez(
        path,
        set=[name for name, _ in rows],
        label=[clip.label for _, clip in rows],
        group=[clip.group or "" for _, clip in rows],
        parts=[clip.parts for _, clip in rows],
        mirrored=mirrored,
        has_mirrored=[clip.mirrored is not None for _, clip in rows],
    )


def read(path: Path) -> dict[str, list[ClipFeatures]]:
    found: dict[str, list[ClipFeatures]] = {}
    if path.is_file():
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        for row, name in enumerate(arrays["set"].tolist()):
            clip = ClipFeatures(
                label=str(arrays["label"][row]),
                parts=arrays["parts"][row],
                mirrored=arrays["mirrored"][row] if arrays["has_mirrored"][row] else None,
                source=f"{name} {row}",
                group=str(arrays["group"][row]),
            )
            found.setdefault(name, []).append(clip)
    return found


if __name__ == "__main__":
    main()
