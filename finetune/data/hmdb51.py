"""HMDB51's file names and its three official splits."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from finetune.data.sample import Sample, nfc

OFFICIAL_TABLES = "*_test_split?.txt"
OFFICIAL_TABLE = re.compile(r"(?P<label>.+)_test_split(?P<number>[123])")
OFFICIAL_SPLITS = {"1": "train", "2": "test"}  # 0 is in neither
# HMDB51 names a clip <source video>_<class>_<body>_<camera>_<people>_<view>_<quality>_<number>.
CLIP_NAME = re.compile(
    r"(?P<source>.+)_[fhlu]_(?:cm|nm)_np\d+_(?:ba|fr|le|ri)_(?:goo|med|bad)_\d+", flags=re.IGNORECASE
)


def group_of(name: str, label: str) -> str | None:
    """Returns the source video in the file name of a clip of HMDB51; None for other names.

    >>> group_of("April_09_brush_hair_u_nm_np1_ba_goo_0.avi", "brush_hair")
    'April_09'
    """
    match = CLIP_NAME.match(name)
    return match["source"].removesuffix(f"_{label}") if match else None


def read_official_splits(root: Path, samples: Iterable[Sample]) -> dict[int, dict[str, tuple[Sample, ...]]]:
    """Reads HMDB51's splits from tables in the root, in a folder in it, or in one beside it.

    Those beside it may belong to another data set with classes of the same names, so only splits with train and test
    clips of this one are returned.
    """
    folders = [root, *(path for path in sorted(root.iterdir()) if path.is_dir())]
    folders += [path for path in sorted(root.resolve().parent.iterdir()) if path.is_dir()]
    folder = next((folder for folder in folders if any(folder.glob(OFFICIAL_TABLES))), None)
    if folder is None:
        return {}
    by_name = {sample.name: sample for sample in samples}
    by_name |= {f"{sample.label}/{nfc(sample.path.stem)}": sample for sample in by_name.values()}
    labels = {sample.label for sample in by_name.values()}
    splits: dict[int, dict[str, list[Sample]]] = {}
    for path in sorted(folder.glob(OFFICIAL_TABLES)):
        match = OFFICIAL_TABLE.fullmatch(nfc(path.stem))
        if not match or match["label"] not in labels:
            continue  # a subset of the classes keeps the tables of all 51
        split = splits.setdefault(int(match["number"]), {"train": [], "test": []})
        for line in nfc(path.read_text(encoding="utf-8")).splitlines():
            name, _, part = line.strip().rpartition(" ")
            clip = f"{match['label']}/{name.strip()}"
            sample = by_name.get(clip) or by_name.get(clip.rpartition(".")[0])
            if sample and part in OFFICIAL_SPLITS:
                split[OFFICIAL_SPLITS[part]].append(sample)
    return {
        number: {part: tuple(clips) for part, clips in split.items()}
        for number, split in splits.items()
        if all(split.values())
    }
