"""Where a data set is -> its clips, and the divisions that came with it."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from huggingface_hub import snapshot_download

from finetune.config.data import HUB_PREFIX
from hmdb.errors import DataError
from hmdb.text import first_line, is_plain
from hmdb.video import VIDEO_SUFFIXES, is_frame_folder

SPLITS = ("train", "val", "test")
SPLIT_NAMES = {  # as people name them -> as they are called here
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
METADATA_FILES = ("metadata.csv", "metadata.jsonl")
LABEL_COLUMNS = ("label", "class", "category", "action")
HOW_TO_GET_DATA = (
    "Get HMDB51 from https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/, "
    "lay it out as <folder>/<class>/<clip>, each clip a video file or a folder of frames, and pass --data <folder>."
)

OFFICIAL_TABLE = re.compile(r"(?P<label>.+)_test_split(?P<number>[123])")
OFFICIAL_SPLITS = {"1": "train", "2": "test"}  # 0 is in neither
# HMDB51 names a clip <source video>_<class>_<body>_<camera>_<people>_<view>_<quality>_<number>.
HMDB51_NAME = re.compile(
    r"(?P<source>.+)_[fhlu]_(?:cm|nm)_np\d+_(?:ba|fr|le|ri)_(?:goo|med|bad)_\d+", flags=re.IGNORECASE
)


def nfc(name: str) -> str:
    """A name with its accents in the characters that have them: Macs write them apart in the names of files."""
    return unicodedata.normalize("NFC", name)


@dataclass(frozen=True)
class Sample:
    """A clip on disk and its class. All but the path is composed.

    Attributes:
        path: a video file or a folder of frames.
        label: the name of its class.
        name: what it is called in the data set, unique there: "wave/clip 7.avi".
        source: the video that it was cut from; None where nothing tells.
    """

    path: Path
    label: str
    name: str
    source: str | None = None

    def __post_init__(self) -> None:
        for name in ("label", "name", "source"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, nfc(value))


@dataclass(frozen=True, kw_only=True)
class ClipIndex:
    """The clips of a data set.

    Attributes:
        name: of the data set: its folder, its table, or its id on the Hub.
        on_hub: whether the name is an id on the Hub.
        samples: all clips, in order of class and name.
        given: "train", "val" and "test" -> their clips, where the data set divides itself.
        grouped: whether the source of each clip is the group that was asked for.
        official: 1, 2 and 3 -> "train" and "test" -> their clips, where HMDB51's own tables are there.
    """

    name: str
    samples: tuple[Sample, ...]
    given: Mapping[str, tuple[Sample, ...]] = field(default_factory=dict)
    official: Mapping[int, Mapping[str, tuple[Sample, ...]]] = field(default_factory=dict)
    on_hub: bool = False
    grouped: bool = False

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names in the order of their ids, which is the alphabetical one."""
        return tuple(sorted({sample.label for sample in self.samples}))


def index_dataset(location: str, group_by: str = "") -> ClipIndex:
    """The data set at a place.

    Args:
        location: a folder laid out as `<root>/<split>/<class>/<clip>`, or with the metadata.csv or metadata.jsonl of
            the Hub's VideoFolder, or as `<root>/<class>/<clip>`, with train.csv, val.csv and test.csv
            (columns class, video_name) or HMDB51's `<class>_test_split1.txt` files or neither; a csv
            with the columns path and label, and perhaps split and source; or `hub:<dataset id>`, one
            of these on the Hub.
        group_by: what becomes the source of each clip, as `finetune.config.data.DataSource` has it.

    Raises:
        DataError: nothing there that can be read as one of these.
    """
    found = _index_layout(location, group_by)
    for label in found.classes:
        if label != label.strip() or not label or not is_plain(label):
            raise DataError(
                f"{found.name} has the label {label!r}: a label has no control characters and no space around it."
            )
    return _grouped(found, group_by) if group_by and not found.grouped else found


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


def _grouped(found: ClipIndex, group_by: str) -> ClipIndex:
    """The same with each clip's folder, or what a pattern finds in its name, as its source."""
    if group_by != "folder" and "(" not in group_by:
        raise DataError(
            f"There is no column {group_by} to group by. Name a column of the csv, folder, or a pattern with a part in "
            "brackets, such as '^([a-z]+)_'."
        )
    samples = {sample.name: replace(sample, source=_group(sample, group_by)) for sample in found.samples}
    if len({sample.source for sample in samples.values()}) < 2:
        raise DataError(f"--group-by {group_by} puts all {len(samples)} clips into one group, so none could test.")
    return replace(found, samples=tuple(samples.values()), given={}, official={})


def _group(sample: Sample, group_by: str) -> str:
    if group_by == "folder":
        return sample.path.parent.name
    try:
        match = re.search(group_by, sample.path.name)
        found = match and match[1]
    except (re.error, IndexError) as error:
        raise DataError(f"--group-by {group_by} is no regular expression with a part in brackets: {error}.") from error
    if not found:
        raise DataError(f"--group-by {group_by} finds nothing in the name {sample.path.name}.")
    return found


def group_of(name: str, label: str) -> str | None:
    """The video that a clip of HMDB51 was cut from, told by its name.

    >>> group_of("April_09_brush_hair_u_nm_np1_ba_goo_0.avi", "brush_hair")
    'April_09'
    """
    found = HMDB51_NAME.match(name)
    return found["source"].removesuffix(f"_{label}") if found else None


def _from_hub(dataset: str, group_by: str) -> ClipIndex:
    try:
        folder = Path(snapshot_download(dataset, repo_type="dataset"))
    except Exception as error:  # the client raises its HTTP library's errors beside its own
        raise DataError(f"The data set {dataset} cannot be had from the Hub: {first_line(error)}") from error
    tables = [path for path in sorted(folder.glob("*.csv")) if path.stem not in SPLITS]
    if len(tables) == 1 and not _class_folders(folder):
        return _from_table(tables[0], dataset, group_by, trusted=False)
    return _from_folder(folder, dataset, group_by, on_hub=True)


def _from_table(table: Path, name: str, group_by: str, *, trusted: bool = True) -> ClipIndex:
    return _from_rows(table, _read_rows(table, "path", "label"), name, group_by, trusted=trusted)


def _from_rows(table: Path, rows: Sequence[Mapping[str, str]], name: str, group_by: str, *, trusted: bool) -> ClipIndex:
    """The clips that a table names, relative to its folder, in the columns path, label, split and perhaps others."""
    samples, given = [], []
    for row, clip in zip(rows, _names(table.parent, [row["path"] for row in rows]), strict=True):
        place = PurePosixPath(row["path"])
        if not trusted and (place.is_absolute() or ".." in place.parts):
            raise DataError(f"{table.name} names {row['path']}, which is outside its data set.")
        path = table.parent / place
        if not _is_clip(path):
            raise DataError(f"{table} names {row['path']}, which is no video file and no folder of frames.")
        source = row.get(group_by or "source") or group_of(path.name, row["label"])
        samples.append(Sample(path, row["label"], clip, source))
        own = (row.get("split") or "").strip()
        given.append(SPLIT_NAMES.get(own.lower(), own))
    _refuse_doubles(table, (sample.name for sample in samples))
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
    """What the clips of a table are called: their paths. Names are published, so an absolute one is cut.

    Then all begin at the table's folder, or at the nearest that holds all clips.
    """
    if not any(map(os.path.isabs, paths)):
        return list(paths)
    above = Path(os.path.abspath(folder))
    whole = [Path(os.path.normpath(above / path)) for path in paths]
    if not all(path.is_relative_to(above) for path in whole):
        above = Path(os.path.commonpath([path.parent for path in whole]))
    return [path.relative_to(above).as_posix() for path in whole]


def _given(where: Path, samples: Iterable[tuple[Sample, str]]) -> dict[str, tuple[Sample, ...]]:
    """The clips by their splits; those that name none are in none."""
    found: dict[str, list[Sample]] = {}
    for sample, split in samples:
        if split:
            found.setdefault(split, []).append(sample)
    if found and "train" not in found:
        raise DataError(f"{where} names splits, but no clip that trains.")
    return {split: tuple(found[split]) for split in SPLITS if split in found}


def _from_folder(root: Path, name: str, group_by: str, *, on_hub: bool = False) -> ClipIndex:
    if tables := _metadata_files(root):
        rows = [row for table, split in tables for row in _metadata_rows(table, split)]
        return _from_rows(root / tables[0][0].name, rows, name, group_by, trusted=not on_hub)
    if folders := _split_folders(root):
        inside = [
            (replace(sample, name=f"{folder.name}/{sample.name}"), split)
            for split, folder in folders.items()
            for sample in _find_samples(folder)
        ]
        samples = sorted((sample for sample, _ in inside), key=lambda sample: (sample.label, sample.name))
        return ClipIndex(name=name, samples=tuple(samples), given=_given(root, inside), on_hub=on_hub)
    samples = _find_samples(root)
    present = [split for split in SPLITS if (root / f"{split}.csv").exists()]
    if present and len(present) < len(SPLITS):
        lacking = ", ".join(f"{split}.csv" for split in SPLITS if split not in present)
        raise DataError(f"{root} has {present[0]}.csv but lacks {lacking}; give all three or none.")
    return ClipIndex(
        name=name,
        samples=tuple(samples),
        given={split: _read_given(root / f"{split}.csv", samples) for split in present},
        official=_read_official(root, samples),
        on_hub=on_hub,
    )


def _split_folders(root: Path) -> dict[str, Path]:
    """Split -> its folder, of a data set that is laid out as `<split>/<class>/<clip>`; else nothing."""
    found = {SPLIT_NAMES[folder.name.lower()]: folder for folder in _named_splits(root)}
    return found if "train" in found and all(map(_holds_classes, found.values())) else {}


def _named_splits(root: Path) -> list[Path]:
    return [folder for folder in _class_folders(root) if folder.name.lower() in SPLIT_NAMES]


def _holds_classes(folder: Path) -> bool:
    classes = _class_folders(folder)
    return len(classes) > 1 and any(_is_clip(path) for path in classes[0].iterdir())


def _metadata_files(root: Path) -> list[tuple[Path, str]]:
    """The tables of the Hub's VideoFolder, in the root or in the folders of splits, and the split of each."""
    places = [(root, ""), *((folder, SPLIT_NAMES[folder.name.lower()]) for folder in _named_splits(root))]
    return [(folder / file, split) for folder, split in places for file in METADATA_FILES if (folder / file).is_file()]


def _metadata_rows(table: Path, split: str) -> list[dict[str, str]]:
    rows = _read_lines(table) if table.suffix == ".jsonl" else _read_csv(table)
    columns = rows[0] if rows else ()
    label = next((column for column in LABEL_COLUMNS if column in columns), " or ".join(LABEL_COLUMNS))
    _refuse_gaps(table, rows, "file_name", label)
    folder = f"{table.parent.name}/" if split else ""
    found = []
    for row in rows:
        first = next(iter(PurePosixPath(row["file_name"]).parts), "")
        own = split or row.get("split") or SPLIT_NAMES.get(first.lower(), "")
        found.append({**row, "path": folder + row["file_name"], "label": row[label], "split": own})
    return found


def _read_lines(path: Path) -> list[dict[str, str]]:
    """Objects of one json a line, their values as text; that of null is empty."""
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]
    except (ValueError, AttributeError) as error:
        raise DataError(f"{path} is not json, an object a line: {first_line(error)}.") from error


def _find_samples(root: Path) -> list[Sample]:
    """All clips of `<root>/<class>/<clip>`, in order of class and name."""
    folders = _class_folders(root)
    if len(folders) < 2:
        raise DataError(_what_is_wrong(root))
    found = {
        folder.name: [
            Sample(path, folder.name, f"{folder.name}/{path.name}", group_of(path.name, folder.name))
            for path in sorted(folder.iterdir())
            if _is_clip(path)
        ]
        for folder in folders
    }
    empty = [label for label, samples in found.items() if not samples]
    if len(empty) == len(found) or (empty and _inner(root)):
        raise DataError(_what_is_wrong(root))
    if empty:
        raise DataError(f"These classes of {root} have no clips: {', '.join(empty)}. Fill or remove their folders.")
    return [sample for samples in found.values() for sample in samples]


def _class_folders(root: Path) -> list[Path]:
    return [
        path
        for path in sorted(root.iterdir())
        if path.is_dir() and not path.name.startswith(".") and not any(path.glob("*_test_split?.txt"))
    ]


def _what_is_wrong(root: Path) -> str:
    """Why a folder is no `<root>/<class>/<clip>`: one level too low, too high, or something else."""
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
    """A folder in this one that is a data set."""
    return next((folder for folder in _class_folders(root) if _holds_classes(folder)), None)


def _is_clip(path: Path) -> bool:
    """Hidden things are none: macOS writes ._clip.avi beside clip.avi."""
    if path.name.startswith("."):
        return False
    return is_frame_folder(path) or (path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())


def _read_rows(path: Path, *columns: str) -> list[dict[str, str]]:
    rows = _read_csv(path)
    _refuse_gaps(path, rows, *columns)
    return rows


def _read_csv(path: Path) -> list[dict[str, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not a csv in UTF-8: {error.reason} at byte {error.start}. Save it as UTF-8."
        ) from error
    if "\0" in text:
        raise DataError(f"{path} is not a csv: it has zero bytes.")
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), restkey="", restval=""))
    except csv.Error as error:  # a quote that nothing closes, for one
        raise DataError(f"{path} is not a csv: {error}.") from error
    if rows and len(columns := [*filter(None, rows[0])]) == 1:  # as where spreadsheets write ; between them
        raise DataError(f"{path} has one column, {columns[0]}. Separate columns by commas.")
    return rows


def _refuse_gaps(path: Path, rows: Sequence[Mapping[str, str]], *columns: str) -> None:
    """There has to be a clip, and something in each of the columns for each."""
    if not rows:
        raise DataError(f"{path} names no clips.")
    if not set(columns) <= set(rows[0]):
        raise DataError(f"{path} needs the columns {', '.join(columns)}; it has {', '.join(filter(None, rows[0]))}.")
    for number, row in enumerate(rows, 1):
        for column in columns:
            if not row.get(column, "").strip():
                raise DataError(f"{path}: the row of clip {number} has no {column}. Fill it in, or take the row out.")


def _read_given(path: Path, samples: Iterable[Sample]) -> tuple[Sample, ...]:
    known = {(sample.label, nfc(name)): sample for sample in samples for name in (sample.path.name, sample.path.stem)}
    names = [(nfc(row["class"]), nfc(row["video_name"])) for row in _read_rows(path, "class", "video_name")]
    absent = [f"{label}/{name}" for label, name in names if (label, name) not in known]
    if absent:
        raise DataError(f"{path.name} names {len(absent)} clip(s) that are not there: {', '.join(absent[:3])} ...")
    found = tuple(known[name] for name in names)
    _refuse_doubles(path, (sample.name for sample in found))
    return found


def _read_official(root: Path, samples: Iterable[Sample]) -> dict[int, dict[str, tuple[Sample, ...]]]:
    """HMDB51's three divisions, from tables in the root, in a folder in it, or in one beside it.

    Those beside it may be of another data set with classes of the same names: a division divides clips of this one.
    """
    folders = [root, *(path for path in sorted(root.iterdir()) if path.is_dir())]
    folders += [path for path in sorted(root.resolve().parent.iterdir()) if path.is_dir()]
    folder = next((folder for folder in folders if any(folder.glob("*_test_split?.txt"))), None)
    if folder is None:
        return {}
    known = {sample.name: sample for sample in samples}
    known |= {f"{sample.label}/{nfc(sample.path.stem)}": sample for sample in known.values()}
    labels = {sample.label for sample in known.values()}
    divisions: dict[int, dict[str, list[Sample]]] = {}
    for path in sorted(folder.glob("*_test_split?.txt")):
        found = OFFICIAL_TABLE.fullmatch(nfc(path.stem))
        if not found or found["label"] not in labels:
            continue  # a subset of the classes keeps the tables of all 51
        division = divisions.setdefault(int(found["number"]), {"train": [], "test": []})
        for line in nfc(path.read_text(encoding="utf-8")).splitlines():
            name, _, split = line.strip().rpartition(" ")
            clip = f"{found['label']}/{name.strip()}"
            sample = known.get(clip) or known.get(clip.rpartition(".")[0])
            if sample and split in OFFICIAL_SPLITS:
                division[OFFICIAL_SPLITS[split]].append(sample)
    return {
        number: {split: tuple(found) for split, found in division.items()}
        for number, division in divisions.items()
        if all(division.values())
    }


def _refuse_doubles(path: Path, names: Iterable[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{path.name} names clips more than once: {', '.join(twice[:3])} ...")
