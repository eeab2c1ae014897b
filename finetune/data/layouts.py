"""Lists the clips of a data set, whatever its layout, and the splits that it comes with."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from huggingface_hub import snapshot_download

from finetune.config.data import HUB_PREFIX
from finetune.data.hmdb51 import OFFICIAL_TABLES, group_of, read_official_splits
from finetune.data.sample import SPLIT_NAMES, SPLITS, ClipIndex, Sample, nfc
from finetune.data.tables import read_csv, read_json_lines, read_table, refuse_duplicates, require_columns
from hmdb.errors import DataError
from hmdb.text import first_line, is_plain
from hmdb.video import VIDEO_SUFFIXES, is_frame_folder

METADATA_FILES = ("metadata.csv", "metadata.jsonl")
LABEL_COLUMNS = ("label", "class", "category", "action")
HOW_TO_GET_DATA = (
    "Get HMDB51 from https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/, "
    "lay it out as <folder>/<class>/<clip>, each clip a video file or a folder of frames, and pass --data <folder>."
)


def index_dataset(location: str, group_by: str = "") -> ClipIndex:
    """Lists the clips of a data set.

    Args:
        location: a folder laid out as `<root>/<split>/<class>/<clip>`, or with the metadata.csv or metadata.jsonl of
            the Hub's VideoFolder, or as `<root>/<class>/<clip>`, with train.csv, val.csv and test.csv
            (columns class, video_name) or HMDB51's `<class>_test_split1.txt` files or neither; a csv
            with the columns path and label, and perhaps split and source; or `hub:<dataset id>`, one
            of these on the Hub.
        group_by: the rule for the group of each clip, as `finetune.config.data.DataSource` has it.

    Raises:
        DataError: there is no data set of one of these layouts.
    """
    index = _index_layout(location, group_by)
    for label in index.classes:
        if label != label.strip() or not label or not is_plain(label):
            raise DataError(
                f"{index.name} has the label {label!r}: a label has no control characters and no space around it."
            )
    return _with_groups(index, group_by) if group_by and not index.grouped else index


def _index_layout(location: str, group_by: str) -> ClipIndex:
    if location.startswith(HUB_PREFIX):
        return _from_hub(location.removeprefix(HUB_PREFIX), group_by)
    path = Path(location)
    if path.is_dir():
        return _from_folder(path, path.resolve().name, group_by)
    if not path.exists():
        raise DataError(f"There is no data folder {path}. {HOW_TO_GET_DATA}")
    if path.suffix.lower() != ".csv":
        raise DataError(f"{path} is neither a folder nor a csv of path and label.")
    return _from_table(path, path.stem, group_by)


def _with_groups(index: ClipIndex, group_by: str) -> ClipIndex:
    """Groups the clips by folder, or by the match of a pattern in their names."""
    if group_by != "folder" and "(" not in group_by:
        raise DataError(
            f"There is no column {group_by} to group by. Name a column of the csv, folder, or a pattern with a part in "
            "brackets, such as '^([a-z]+)_'."
        )
    samples = {sample.name: replace(sample, group=_group(sample, group_by)) for sample in index.samples}
    if len({sample.group for sample in samples.values()}) < 2:
        raise DataError(f"--group-by {group_by} puts all {len(samples)} clips into one group, so none could test.")
    return replace(index, samples=tuple(samples.values()), given={}, official={})


def _group(sample: Sample, group_by: str) -> str:
    if group_by == "folder":
        return sample.path.parent.name
    try:
        match = re.search(group_by, sample.path.name)
        group = match and match[1]
    except (re.error, IndexError) as error:
        raise DataError(f"--group-by {group_by} is no regular expression with a part in brackets: {error}.") from error
    if not group:
        raise DataError(f"--group-by {group_by} finds nothing in the name {sample.path.name}.")
    return group


def _from_hub(dataset: str, group_by: str) -> ClipIndex:
    try:
        folder = Path(snapshot_download(dataset, repo_type="dataset"))
    except Exception as error:  # the client raises its HTTP library's errors besides its own
        raise DataError(f"The data set {dataset} cannot be downloaded from the Hub: {first_line(error)}") from error
    tables = [path for path in sorted(folder.glob("*.csv")) if path.stem not in SPLITS]
    if len(tables) == 1 and not _class_folders(folder):
        return _from_table(tables[0], dataset, group_by, trusted=False)
    return _from_folder(folder, dataset, group_by, on_hub=True)


def _from_table(table: Path, name: str, group_by: str, *, trusted: bool = True) -> ClipIndex:
    return _from_rows(table, read_table(table, "path", "label"), name, group_by, trusted=trusted)


def _from_rows(table: Path, rows: Sequence[Mapping[str, str]], name: str, group_by: str, *, trusted: bool) -> ClipIndex:
    """Lists the clips of a table with the columns path (relative to the table), label, split and perhaps others."""
    samples, given = [], []
    for row, clip in zip(rows, _names(table.parent, [row["path"] for row in rows]), strict=True):
        place = PurePosixPath(row["path"])
        if not trusted and (place.is_absolute() or ".." in place.parts):
            raise DataError(f"{table.name} names {row['path']}, which is outside its data set.")
        path = table.parent / place
        if not _is_clip(path):
            raise DataError(f"{table} names {row['path']}, which is no video file and no folder of frames.")
        group = row.get(group_by or "source") or group_of(path.name, row["label"])
        samples.append(Sample(path, row["label"], clip, group))
        split = (row.get("split") or "").strip()
        given.append(SPLIT_NAMES.get(split.lower(), split))
    refuse_duplicates(table, (sample.name for sample in samples))
    if len({sample.label for sample in samples}) < 2:
        raise DataError(f"{table} needs clips of at least two classes.")
    unknown = set(given) - {"", *SPLITS}
    if unknown:
        raise DataError(f"{table} names the split {min(unknown)}; known are {', '.join(SPLITS)}.")
    return ClipIndex(
        name=name,
        samples=tuple(sorted(samples, key=lambda sample: (sample.label, sample.name))),
        given=_given(table, zip(samples, given, strict=True)),
        on_hub=not trusted,
        grouped=group_by in rows[0],
    )


def _names(folder: Path, paths: Sequence[str]) -> list[str]:
    """Names the clips of a table by their paths.

    Names are published, so absolute paths are made relative to the table's folder, or to the nearest folder above that
    holds all clips.
    """
    if not any(map(os.path.isabs, paths)):
        return list(paths)
    above = Path(os.path.abspath(folder))
    whole = [Path(os.path.normpath(above / path)) for path in paths]
    if not all(path.is_relative_to(above) for path in whole):
        above = Path(os.path.commonpath([path.parent for path in whole]))
    return [path.relative_to(above).as_posix() for path in whole]


def _given(where: Path, samples: Iterable[tuple[Sample, str]]) -> dict[str, tuple[Sample, ...]]:
    """Sorts clips by split; a clip without one is left out."""
    splits: dict[str, list[Sample]] = {}
    for sample, split in samples:
        if split:
            splits.setdefault(split, []).append(sample)
    if splits and "train" not in splits:
        raise DataError(f"{where} names splits, but no train split.")
    return {split: tuple(splits[split]) for split in SPLITS if split in splits}


def _from_folder(root: Path, name: str, group_by: str, *, on_hub: bool = False) -> ClipIndex:
    if tables := _metadata_files(root):
        rows = [row for table, split in tables for row in _metadata_rows(table, split)]
        return _from_rows(root / tables[0][0].name, rows, name, group_by, trusted=not on_hub)
    if folders := _split_folders(root):
        pairs = [
            (replace(sample, name=f"{folder.name}/{sample.name}"), split)
            for split, folder in folders.items()
            for sample in _list_samples(folder)
        ]
        samples = sorted((sample for sample, _ in pairs), key=lambda sample: (sample.label, sample.name))
        return ClipIndex(name=name, samples=tuple(samples), given=_given(root, pairs), on_hub=on_hub)
    samples = _list_samples(root)
    present = [split for split in SPLITS if (root / f"{split}.csv").exists()]
    if present and len(present) < len(SPLITS):
        lacking = ", ".join(f"{split}.csv" for split in SPLITS if split not in present)
        raise DataError(f"{root} has {present[0]}.csv but lacks {lacking}; give all three or none.")
    return ClipIndex(
        name=name,
        samples=tuple(samples),
        given={split: _read_given(root / f"{split}.csv", samples) for split in present},
        official=read_official_splits(root, samples),
        on_hub=on_hub,
    )


def _split_folders(root: Path) -> dict[str, Path]:
    """Finds the folder of each split of a data set laid out as `<split>/<class>/<clip>`; empty for other layouts."""
    folders = {SPLIT_NAMES[folder.name.lower()]: folder for folder in _named_splits(root)}
    return folders if "train" in folders and all(map(_holds_classes, folders.values())) else {}


def _named_splits(root: Path) -> list[Path]:
    return [folder for folder in _class_folders(root) if folder.name.lower() in SPLIT_NAMES]


def _holds_classes(folder: Path) -> bool:
    classes = _class_folders(folder)
    return len(classes) > 1 and any(_is_clip(path) for path in classes[0].iterdir())


def _metadata_files(root: Path) -> list[tuple[Path, str]]:
    """Finds the tables of the Hub's VideoFolder, in the root or in the folders of splits, and the split of each."""
    places = [(root, ""), *((folder, SPLIT_NAMES[folder.name.lower()]) for folder in _named_splits(root))]
    return [(folder / file, split) for folder, split in places for file in METADATA_FILES if (folder / file).is_file()]


def _metadata_rows(table: Path, split: str) -> list[dict[str, str]]:
    rows = read_json_lines(table) if table.suffix == ".jsonl" else read_csv(table)
    columns = rows[0] if rows else ()
    label = next((column for column in LABEL_COLUMNS if column in columns), " or ".join(LABEL_COLUMNS))
    require_columns(table, rows, "file_name", label)
    folder = f"{table.parent.name}/" if split else ""
    completed = []
    for row in rows:
        first = next(iter(PurePosixPath(row["file_name"]).parts), "")
        row_split = split or row.get("split") or SPLIT_NAMES.get(first.lower(), "")
        completed.append({**row, "path": folder + row["file_name"], "label": row[label], "split": row_split})
    return completed


def _list_samples(root: Path) -> list[Sample]:
    """Lists the clips of `<root>/<class>/<clip>`, in order of class and name."""
    folders = _class_folders(root)
    if len(folders) < 2:
        raise DataError(_layout_error(root))
    by_class = {
        folder.name: [
            Sample(path, folder.name, f"{folder.name}/{path.name}", group_of(path.name, folder.name))
            for path in sorted(folder.iterdir())
            if _is_clip(path)
        ]
        for folder in folders
    }
    empty = [label for label, samples in by_class.items() if not samples]
    if len(empty) == len(by_class) or (empty and _inner(root)):
        raise DataError(_layout_error(root))
    if empty:
        raise DataError(f"These classes of {root} have no clips: {', '.join(empty)}. Fill or remove their folders.")
    return [sample for samples in by_class.values() for sample in samples]


def _class_folders(root: Path) -> list[Path]:
    return [
        path
        for path in sorted(root.iterdir())
        if path.is_dir() and not path.name.startswith(".") and not any(path.glob(OFFICIAL_TABLES))
    ]


def _layout_error(root: Path) -> str:
    """Explains why a folder is no `<root>/<class>/<clip>`: one level too low, too high, or something else."""
    folders = _class_folders(root)
    layout = "it must hold <class>/<clip>, with at least two classes."
    if is_frame_folder(root):
        return f"{root} is one clip, two levels too low: {layout} Try {root.resolve().parent.parent}."
    if inner := _inner(root):
        return f"{root} is one level too high: {layout} Try {inner}."
    if any(map(_is_clip, root.iterdir())):
        return f"{root} looks like the folder of one class, one level too low: {layout} Try {root.resolve().parent}."
    return f"{root} is no data set: {layout} It has {len(folders)} folder(s), none with a video or a folder of frames."


def _inner(root: Path) -> Path | None:
    """Returns a folder in this one that is a data set."""
    return next((folder for folder in _class_folders(root) if _holds_classes(folder)), None)


def _is_clip(path: Path) -> bool:
    """Tests for a video or a folder of frames. Hidden ones are none: macOS writes ._clip.avi beside clip.avi."""
    if path.name.startswith("."):
        return False
    return is_frame_folder(path) or (path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())


def _read_given(path: Path, samples: Iterable[Sample]) -> tuple[Sample, ...]:
    known = {(sample.label, nfc(name)): sample for sample in samples for name in (sample.path.name, sample.path.stem)}
    names = [(nfc(row["class"]), nfc(row["video_name"])) for row in read_table(path, "class", "video_name")]
    absent = [f"{label}/{name}" for label, name in names if (label, name) not in known]
    if absent:
        raise DataError(f"{path.name} names {len(absent)} clip(s) that are not there: {', '.join(absent[:3])} ...")
    listed = tuple(known[name] for name in names)
    refuse_duplicates(path, (sample.name for sample in listed))
    return listed
