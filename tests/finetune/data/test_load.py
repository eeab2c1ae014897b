import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from finetune.config.data import DataSource
from finetune.data import leakage
from finetune.data.load import load_clips
from finetune.data.splits import read_splits
from hmdb.clips.clip import ClipSpec
from hmdb.model.preprocess import PixelSpec
from tests.support.datasets import shape_clip, write_clip, write_dataset


def test_each_clip_is_fingerprinted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_dataset(tmp_path / "data", 6)
    extra = tmp_path / "extra"
    for number in (90, 91):
        write_clip(extra / "circle" / f"new_{number}", shape_clip(0, number))
    source = DataSource(str(root), more=str(extra))
    splits = read_splits(source)
    shutil.copytree(splits.test[0].path, extra / "square" / "copy")
    counts: Counter[bytes] = Counter()
    compute = leakage.fingerprint

    def count(frames: np.ndarray) -> leakage.Fingerprint:
        counts[frames.tobytes()] += 1
        return compute(frames)

    monkeypatch.setattr(leakage, "fingerprint", count)
    data = load_clips(
        splits,
        source,
        ClipSpec(sampler="equidistant"),
        PixelSpec.paper(32),
        seed=0,
        cache=tmp_path / "cache",
        progress=False,
    )
    assert [sample.name for sample in data.added] == ["extra/circle/new_90", "extra/circle/new_91"]
    assert not data.leaks.found
    assert sorted(counts.values()) == [1] * 13 + [2], "the copy of a test clip has the test clip's frames"
