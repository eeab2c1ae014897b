"""Out-of-distribution detection of a checkpoint, by detector: `python -m benchmarks.strangers --data DIR`

Far OOD clips are not videos of people: plain colours, noise, drifting shapes, desktops, clips whose pieces are
shuffled, and the videos of `--far` folders. Near strangers are actions: a linear head is fitted to the features
without five of the classes, whose val clips are then the strangers, and again for the next five. Thresholds keep
90 % of the right answers on val.

`--real` takes folders of real clips, `<kind>/<id>/`, with a table of id, kind and repository: kinds that are classes
should be accepted, the others are strangers. Clips of a repository share people and places, so detector and threshold
are chosen on some repositories and measured on the others: sorted by number of strangers and then by name, without
those of `--choose-on`, every other one is kept back, beginning with the largest.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from sklearn.metrics import roc_auc_score, roc_curve

from finetune.config.data import DataSource
from finetune.data.dataset import ClipDataset
from finetune.data.sample import Sample
from finetune.data.splits import read_splits
from finetune.evaluation.metrics import wilson_interval
from finetune.evaluation.ood import SHRINKAGE
from finetune.models.linear_probe import MIN_STD, probe
from hmdb.errors import VideoError
from hmdb.model.loading import LoadedModel
from hmdb.model.ood import energy_scores, l2_normalize, log_odds
from hmdb.model.preprocess import resize_and_crop
from hmdb.recognizer import Recognizer
from hmdb.video.discover import find_videos

KEEP = 0.9  # of the right answers on val
HIDDEN = 5  # classes at a time
NEIGHBOURS = 10
STRENGTH = 0.02  # of the linear heads
SIDE, FRAMES = 224, 8
RESAMPLES = 200  # of the sources
DRAWN = 24  # strangers of each kind


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """The outputs of a network for clips: features (N, C), logits (N, K), and classes (N,) of labelled clips."""

    features: np.ndarray
    logits: np.ndarray
    classes: np.ndarray


Detector = Callable[[Seen, Seen], np.ndarray]  # of training clips and of others -> how known each of those is


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strangers")
    parser.add_argument("--data", required=True, help="as for python -m finetune")
    parser.add_argument("--model", help="as for python -m hmdb")
    parser.add_argument("--far", nargs="*", default=[], help="folders of further OOD videos")
    parser.add_argument("--known", nargs="*", default=[], help="in-distribution videos that should be accepted")
    parser.add_argument("--more", help="further training clips, <class>/<video>, for the statistics")
    parser.add_argument("--real", nargs="*", default=[], type=Path, help="folders of real clips, with tables")
    parser.add_argument("--choose-on", nargs="*", default=[], help="repositories that are not kept back")
    options = parser.parse_args()
    recognizer = Recognizer.from_pretrained(options.model, dtype="float32")
    splits = read_splits(DataSource(options.data))
    samples = list(splits.train)
    if options.more:
        folder = Path(options.more)
        samples += [Sample(path, path.parent.name, path.name) for path in sorted(folder.glob("*/*"))]
    parts = (samples, splits.val, splits.test)
    train, val, test = (look(recognizer, samples_of(recognizer, part)) for part in parts)
    kinds = {name: look(recognizer, unlabelled(clips)) for name, clips in drawn(recognizer, splits.val).items()}
    for folder_name in options.far:
        kinds[Path(folder_name).name] = look(recognizer, unlabelled(readable(recognizer, [folder_name])))
    stay = look(recognizer, unlabelled(readable(recognizer, options.known))) if options.known else None
    print(decided_table(recognizer.loaded, kinds | {"val": val}))
    print(far_table(train, val, kinds, stay))
    print(near_table(train, val))
    if options.real:
        rows = [row for folder in options.real for row in read_table(folder)]
        real = look(recognizer, clips_of(recognizer, rows))
        sources = np.array([source for _, _, source in rows])
        kept = np.isin(sources, kept_back(sources[real.classes < 0], options.choose_on))
        for title, part in (("to choose on", ~kept), ("kept back", kept)):
            print(title)
            print(source_table(recognizer.loaded, (train, val, test), subset(real, part), sources[part]))


def read_table(folder: Path) -> list[tuple[Path, str, str]]:
    """Folder, kind and repository of the clips of the table in a folder."""
    (table,) = folder.glob("*.csv")
    with table.open(encoding="utf-8", newline="") as file:
        return [(folder / row["kind"] / row["id"], row["kind"], row["repository"]) for row in csv.DictReader(file)]


def clips_of(recognizer: Recognizer, rows: Sequence[tuple[Path, str, str]]) -> Iterator[tuple[np.ndarray, int]]:
    labels = list(recognizer.loaded.labels)
    for path, kind, _ in rows:
        yield recognizer.read(path).pixels, labels.index(kind) if kind in labels else -1


def kept_back(sources: np.ndarray, choose_on: Sequence[str]) -> list[str]:
    """Every other source, by falling number of clips and then by name, beginning with the first."""
    names, counts = np.unique(sources, return_counts=True)
    number = dict(zip(names.tolist(), counts.tolist(), strict=True))
    return sorted(set(number) - set(choose_on), key=lambda name: (-number[name], name))[::2]


def source_table(loaded: LoadedModel, splits: tuple[Seen, Seen, Seen], real: Seen, sources: np.ndarray) -> str:
    """Strangers accepted and right answers kept of real clips, by detector; intervals by resampling the sources.

    AUROC and FPR95 are against the correctly answered val clips; for the checkpoint, whose detector is fitted to them,
    against those of test.
    """
    train, val, test = splits
    right, at_test, correct = (each.logits.argmax(axis=1) == each.classes for each in (val, test, real))
    strange = real.classes < 0
    lines = ["| detector | AUROC | FPR95 | strangers accepted | right answers kept |", "|---|---|---|---|---|"]
    for name, detector in DETECTORS.items():
        known, found = detector(train, val)[right], detector(train, real)
        threshold = np.quantile(known, 1 - KEEP, method="lower")
        lines.append(source_row(name, known, found, found >= threshold, strange, correct, sources))
    if loaded.ood_detector:
        known, found = (loaded.ood_detector.score(each.features, each.logits) for each in (test, real))
        likely = loaded.calibration.probabilities(real.logits).max(axis=1) >= (loaded.calibration.threshold or 0)
        lines.append(
            source_row("the checkpoint", known[at_test], found, likely & (found >= 0), strange, correct, sources)
        )
    return "\n".join(lines) + "\n"


def source_row(
    name: str,
    known: np.ndarray,
    found: np.ndarray,
    accepted: np.ndarray,
    strange: np.ndarray,
    correct: np.ndarray,
    sources: np.ndarray,
) -> str:
    names = np.unique(sources[strange])
    clips = [np.flatnonzero(strange & (sources == each)) for each in names]
    rng, drawn = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        again = np.concatenate([clips[index] for index in rng.integers(len(names), size=len(names))])
        drawn.append((float(figures(known, found[again])[0]), accepted[again].mean()))
    (low, least), (high, most) = np.quantile(drawn, (0.025, 0.975), axis=0)
    auroc, fpr = figures(known, found[strange])
    share = f"{accepted[strange].sum()} of {strange.sum()}, {accepted[strange].mean():.0%} ({least:.0%} to {most:.0%})"
    return f"| {name} | {auroc} ({low:.3f} to {high:.3f}) | {fpr} | {share} | {kept_share(accepted[correct])} |"


def kept_share(accepted: np.ndarray) -> str:
    if not len(accepted):
        return "-"
    low, high = wilson_interval(float(accepted.mean()), len(accepted))
    return f"{accepted.sum()} of {len(accepted)} ({low:.0%} to {high:.0%})"


def subset(seen: Seen, part: np.ndarray) -> Seen:
    return Seen(features=seen.features[part], logits=seen.logits[part], classes=seen.classes[part])


def decided_table(loaded: LoadedModel, kinds: dict[str, Seen]) -> str:
    """The share of clips that the checkpoint accepts: by probability alone, and with its OOD detector."""
    lines = ["| clips | likely enough | and familiar |", "|---|---|---|"]
    for kind, seen in kinds.items():
        likely = loaded.calibration.probabilities(seen.logits).max(axis=1) >= (loaded.calibration.threshold or 0)
        familiar = loaded.ood_detector.score(seen.features, seen.logits) >= 0 if loaded.ood_detector else likely
        lines.append(f"| {kind}, {len(likely)} | {likely.mean():.0%} | {(likely & familiar).mean():.0%} |")
    return "\n".join(lines) + "\n"


def far_table(train: Seen, val: Seen, kinds: dict[str, Seen], stay: Seen | None) -> str:
    """AUROC and FPR95 against val, and the share of each kind of OOD clip that is accepted."""
    columns = ["detector", "AUROC", "FPR95", "accepted", *kinds, *(["known that stay"] if stay else [])]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    right = val.logits.argmax(axis=1) == val.classes
    for name, detector in DETECTORS.items():
        known = detector(train, val)
        threshold = np.quantile(known[right], 1 - KEEP, method="lower")
        found = {kind: detector(train, seen) for kind, seen in kinds.items()}
        every = np.concatenate(list(found.values()))
        cells = [name, *figures(known, every), f"{(every >= threshold).mean():.0%}"]
        cells += [f"{(scores >= threshold).mean():.0%}" for scores in found.values()]
        if stay:
            scores = detector(train, stay)
            cells.append(f"{(scores >= threshold).sum()} of {len(scores)}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def near_table(train: Seen, val: Seen) -> str:
    """The same with classes held out from the head and the statistics; means over the groups of classes."""
    number = val.logits.shape[1]
    found: dict[str, list[tuple[str, str]]] = {name: [] for name in DETECTORS}
    order = np.random.default_rng(0).permutation(number)
    for hidden in np.array_split(order, number // HIDDEN):
        kept = np.setdiff1d(np.arange(number), hidden)
        head = linear_head(within(train, kept))
        without = with_head(within(train, kept), head)
        shown, strangers = (with_head(within(val, part), head) for part in (kept, hidden))
        for name, detector in DETECTORS.items():
            found[name].append(figures(detector(without, shown), detector(without, strangers)))
    lines = ["| detector | AUROC near | FPR95 near |", "|---|---|---|"]
    for name, groups in found.items():
        auroc, fpr = np.array(groups, float).mean(axis=0)
        lines.append(f"| {name} | {auroc:.3f} | {fpr:.3f} |")
    return "\n".join(lines) + "\n"


def figures(known: np.ndarray, strangers: np.ndarray) -> tuple[str, str]:
    """AUROC, and FPR95: the share of OOD clips above the threshold that 95 % of in-distribution clips exceed."""
    truth = np.repeat([1, 0], [len(known), len(strangers)])
    false, true, _ = roc_curve(truth, np.concatenate([known, strangers]))
    return f"{roc_auc_score(truth, np.concatenate([known, strangers])):.3f}", f"{false[np.argmax(true >= 0.95)]:.3f}"


def look(recognizer: Recognizer, clips: Iterator[tuple[np.ndarray, int]]) -> Seen:
    """Runs the network on clips, (pixels, class)."""
    features, classes = [], []
    for pixels, label in clips:
        features.append(
            recognizer.score_clips(resize_and_crop(pixels, recognizer.loaded.pixel_spec)[None])[0].embedding
        )
        classes.append(label)
    head: Any = recognizer.loaded.network.classifier
    weight, bias = (each.detach().float().cpu().numpy() for each in (head.weight, head.bias))
    together = np.stack(features)
    return Seen(features=together, logits=together @ weight.T + bias, classes=np.array(classes))


def samples_of(recognizer: Recognizer, samples: Sequence[Sample]) -> Iterator[tuple[np.ndarray, int]]:
    loaded = recognizer.loaded
    clips = ClipDataset(samples, loaded.labels, loaded.clip_spec, loaded.pixel_spec)
    for index in range(len(clips)):
        yield clips.frames(index), clips.class_id(index)


def unlabelled(clips: Iterator[np.ndarray] | Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, int]]:
    return ((pixels, -1) for pixels in clips)


def readable(recognizer: Recognizer, places: Sequence[str]) -> Iterator[np.ndarray]:
    """The clips of all readable videos."""
    for path in [path for place in places for path in find_videos(Path(place))]:
        try:
            yield recognizer.read(path).pixels
        except VideoError as error:
            print(f"left out: {error}")


def drawn(recognizer: Recognizer, val: Sequence[Sample]) -> dict[str, list[np.ndarray]]:
    """OOD clips by kind, each uint8 (T, H, W, 3)."""
    rng = np.random.default_rng(0)
    shuffled = (recognizer.read(sample.path).pixels for sample in val[:: max(len(val) // DRAWN, 1)])
    return {
        "plain": [plain(rng) for _ in range(DRAWN)],
        "noise": [rng.integers(0, 256, (FRAMES, SIDE, SIDE, 3), np.uint8) for _ in range(DRAWN)],
        "shapes": [shapes(rng) for _ in range(DRAWN)],
        "desktops": [desktop(rng) for _ in range(DRAWN)],
        "shuffled": [shuffle(clip, rng) for clip in shuffled],
    }


def plain(rng: np.random.Generator) -> np.ndarray:
    """A slightly flickering colour, like that of a covered camera."""
    clip = rng.integers(0, 256, 3) + rng.normal(0, 2, (FRAMES, SIDE, SIDE, 3)) + rng.normal(0, 4, (FRAMES, 1, 1, 1))
    return clip.clip(0, 255).astype(np.uint8)


def shapes(rng: np.random.Generator) -> np.ndarray:
    """Drifting discs and boxes."""
    count = int(rng.integers(2, 7))
    places, speeds = rng.uniform(0, SIDE, (count, 2)), rng.uniform(-15, 15, (count, 2))
    colors, sizes, ground = rng.integers(0, 256, (count, 3)), rng.uniform(10, 50, count), rng.integers(0, 256, 3)
    frames = []
    for moment in range(FRAMES):
        picture = Image.new("RGB", (SIDE, SIDE), tuple(ground.tolist()))
        draw = ImageDraw.Draw(picture)
        for index, (x, y) in enumerate(places + moment * speeds):
            box = (x - sizes[index], y - sizes[index], x + sizes[index], y + sizes[index])
            (draw.ellipse if index % 2 else draw.rectangle)(box, fill=tuple(colors[index].tolist()))
        frames.append(np.asarray(picture))
    return np.stack(frames)


def desktop(rng: np.random.Generator) -> np.ndarray:
    """Windows of scrolling text under a moving pointer."""
    ground, letters = rng.integers(0, 256, 3), "".join(chr(rng.integers(97, 123)) for _ in range(4000))
    windows = [(*rng.integers(0, SIDE // 2, 2), *rng.integers(60, SIDE, 2)) for _ in range(3)]
    dark = rng.random() < 0.5
    frames = []
    for moment in range(FRAMES):
        picture = Image.new("RGB", (SIDE, SIDE), tuple(ground.tolist()))
        draw = ImageDraw.Draw(picture)
        for left, top, width, height in windows:
            draw.rectangle((left, top, left + width, top + height), fill="#222" if dark else "white", outline="gray")
            draw.rectangle((left, top, left + width, top + 10), fill="gray")
            for line in range(int(height) // 12 - 1):
                first = (line + 2 * moment) * 40
                text = letters[first : first + int(width) // 7]
                draw.text((left + 4, top + 14 + 12 * line), text, fill="white" if dark else "black")
        x, y = SIDE / 2 + 9 * moment, SIDE / 3 + 7 * moment
        draw.polygon([(x, y), (x, y + 12), (x + 8, y + 8)], fill="black", outline="white")
        frames.append(np.asarray(picture))
    return np.stack(frames)


def shuffle(clip: np.ndarray, rng: np.random.Generator, parts: int = 4) -> np.ndarray:
    """Shuffles the pieces of all frames in the same way."""
    rows, columns = (side // parts for side in clip.shape[1:3])
    pieces = clip[:, : rows * parts, : columns * parts].reshape(len(clip), parts, rows, parts, columns, 3)
    pieces = pieces.transpose(1, 3, 0, 2, 4, 5).reshape(parts**2, len(clip), rows, columns, 3)
    pieces = rng.permutation(pieces).reshape(parts, parts, len(clip), rows, columns, 3)
    return pieces.transpose(2, 0, 3, 1, 4, 5).reshape(len(clip), rows * parts, columns * parts, 3)


def within(seen: Seen, classes: np.ndarray) -> Seen:
    """The clips of some classes, renumbered."""
    there = np.isin(seen.classes, classes)
    return Seen(
        features=seen.features[there],
        logits=seen.logits[there],
        classes=np.searchsorted(classes, seen.classes[there]),
    )


def linear_head(train: Seen) -> tuple[np.ndarray, np.ndarray]:
    mean, spread = train.features.mean(axis=0), train.features.std(axis=0) + MIN_STD
    number = int(train.classes.max()) + 1
    weight, bias = probe((train.features - mean) / spread, train.classes, number, STRENGTH)
    return weight.numpy() / spread, bias.numpy() - (weight.numpy() / spread) @ mean


def with_head(seen: Seen, head: tuple[np.ndarray, np.ndarray]) -> Seen:
    return Seen(features=seen.features, logits=seen.features @ head[0].T + head[1], classes=seen.classes)


def probability(_: Seen, seen: Seen) -> np.ndarray:
    found: np.ndarray = seen.logits.max(axis=1) - energy_scores(seen.logits)
    return found


def max_logit(_: Seen, seen: Seen) -> np.ndarray:
    found: np.ndarray = seen.logits.max(axis=1)
    return found


def energy(_: Seen, seen: Seen) -> np.ndarray:
    return energy_scores(seen.logits)


def mahalanobis(train: Seen, seen: Seen) -> np.ndarray:
    found: np.ndarray = -_mahalanobis(train.features, train.classes, seen.features).min(axis=1)
    return found


def mahalanobis_pp(train: Seen, seen: Seen) -> np.ndarray:
    """Mueller and Hein 2025: Mahalanobis distance of L2-normalized features."""
    found: np.ndarray = -_mahalanobis(l2_normalize(train.features), train.classes, l2_normalize(seen.features)).min(
        axis=1
    )
    return found


def relative_mahalanobis_pp(train: Seen, seen: Seen) -> np.ndarray:
    """Ren et al. 2021: Mahalanobis distance minus the distance from all classes together."""
    known, other = l2_normalize(train.features), l2_normalize(seen.features)
    all_together = _mahalanobis(known, np.zeros(len(known), int), other)[:, 0]
    found: np.ndarray = all_together - _mahalanobis(known, train.classes, other).min(axis=1)
    return found


def nearest(train: Seen, seen: Seen) -> np.ndarray:
    """Sun et al. 2022: distance from the k-th neighbour, of L2-normalized features."""
    known, other = (torch.from_numpy(l2_normalize(each.features)) for each in (train, seen))
    gaps = torch.cdist(other, known)
    found: np.ndarray = -gaps.kthvalue(NEIGHBOURS, dim=1).values.numpy()
    return found


def vim(train: Seen, seen: Seen) -> np.ndarray:
    """Wang et al. 2022: energy minus the residual outside the principal space of the training features."""
    origin = train.features.mean(axis=0)
    centred = train.features - origin
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    rest = directions[len(directions) // 3 :]
    of_train = np.linalg.norm(centred @ rest.T, axis=1)
    scale = train.logits.max(axis=1).mean() / of_train.mean()
    found: np.ndarray = energy_scores(seen.logits) - scale * np.linalg.norm((seen.features - origin) @ rest.T, axis=1)
    return found


def with_mahalanobis_pp(confidence: Detector) -> Detector:
    """The sum of both, standardized over the training clips, as in `hmdb.model.ood`."""

    def summed(train: Seen, seen: Seen) -> np.ndarray:
        both = []
        for detector in (confidence, mahalanobis_pp):
            usual = detector(train, train)
            both.append((detector(train, seen) - usual.mean()) / usual.std())
        found: np.ndarray = both[0] + both[1]
        return found

    return summed


def odds(_: Seen, seen: Seen) -> np.ndarray:
    return log_odds(seen.logits)


def _mahalanobis(known: np.ndarray, classes: np.ndarray, features: np.ndarray) -> np.ndarray:
    """(N, K): squared distances from the class means, with one covariance."""
    means = np.stack([known[classes == index].mean(axis=0) for index in range(int(classes.max()) + 1)])
    rest = known - means[classes]
    covariance = rest.T @ rest / len(rest)
    width = len(covariance)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.trace(covariance) / width * np.eye(width)
    whitening = np.linalg.inv(np.linalg.cholesky(covariance)).T
    white, white_means = features @ whitening, means @ whitening
    squares: np.ndarray = (
        (white**2).sum(axis=1)[:, None] - 2 * white @ white_means.T + (white_means**2).sum(axis=1)[None]
    )
    return squares


DETECTORS: dict[str, Detector] = {
    "largest probability": probability,
    "max logit": max_logit,
    "energy": energy,
    "Mahalanobis": mahalanobis,
    "Mahalanobis++": mahalanobis_pp,
    "relative Mahalanobis++": relative_mahalanobis_pp,
    f"{NEIGHBOURS}th neighbour": nearest,
    "ViM": vim,
    "energy + Mahalanobis++": with_mahalanobis_pp(energy),
    "log-odds + Mahalanobis++": with_mahalanobis_pp(odds),
}


if __name__ == "__main__":
    main()
