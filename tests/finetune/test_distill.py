import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import VideoMAEConfig, VideoMAEForVideoClassification

from finetune.dataset import UNLABELLED, ClipDataset
from finetune.distill import Distillation, find_teacher, find_unlabelled, loss_with_teacher, teach
from finetune.recipe import recipe_of
from finetune.splits import DataSource, read_splits
from finetune.train import train
from hmdb.clip import ClipSpec
from hmdb.errors import DataError, ModelError
from hmdb.preprocess import PixelSpec
from hmdb.recognizer import Recognizer
from tests.datasets import shape_clip, write_clip, write_dataset
from tests.finetune.conftest import TINY

CPU = torch.device("cpu")
EVEN = ClipSpec(sampler="equidistant")
PIXELS = PixelSpec.paper(32)
PLAN = Distillation(teacher="teacher")


def clips(dataset: Path, part: str) -> ClipDataset:
    splits = read_splits(DataSource(str(dataset)))
    return ClipDataset(splits.parts()[part], splits.classes, EVEN, PIXELS)


def test_the_loss_is_cross_entropy_without_a_teacher_and_none_where_both_agree() -> None:
    logits, classes = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    plain = torch.nn.functional.cross_entropy(logits, classes)
    only_labels = Distillation(teacher="t", weight=0.0)
    assert loss_with_teacher(logits, classes, torch.zeros(2, 2), only_labels, 0.0) == pytest.approx(float(plain))
    only_teacher = Distillation(teacher="t", weight=1.0)
    assert loss_with_teacher(logits, classes, logits, only_teacher, 0.0) == pytest.approx(0.0, abs=1e-6)


def test_a_clip_without_a_label_learns_from_the_teacher_alone() -> None:
    logits = torch.tensor([[2.0, 0.0]], requires_grad=True)
    targets = torch.tensor([[0.0, 2.0]])
    loss = loss_with_teacher(logits, torch.tensor([UNLABELLED]), targets, PLAN, 0.1)
    (gradient,) = torch.autograd.grad(loss, [logits])
    assert gradient[0, 0] > 0 > gradient[0, 1]


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"weight": 1.5}])
def test_settings_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(DataError, match=next(iter(wrong))):
        Distillation(teacher="t", **wrong)


def test_the_teacher_answers_as_it_does_alone(finished: tuple[Path, dict[str, Any]], dataset: Path) -> None:
    test = clips(dataset, "test")
    targets = teach(find_teacher(str(finished[0]), CPU), test, ("circle", "square"), batch_size=3)
    recognizer = Recognizer.from_pretrained(finished[0])
    assert targets.shape == (4, 2)
    for sample, row in zip(test.samples, targets, strict=True):
        assert recognizer(sample.path).label == ("circle", "square")[int(row.argmax())]
    swapped = teach(find_teacher(str(finished[0]), CPU), test, ("square", "circle"), batch_size=3)
    assert np.array_equal(swapped, targets[:, ::-1])


def test_any_video_classifier_teaches(dataset: Path, tmp_path: Path) -> None:
    config = VideoMAEConfig(
        image_size=32, num_frames=4, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        id2label={0: "square", 1: "circle"}, label2id={"square": 0, "circle": 1},
    )  # fmt: skip
    VideoMAEForVideoClassification(config).save_pretrained(tmp_path / "mae")
    (tmp_path / "mae" / "preprocessor_config.json").write_text(json.dumps(PIXELS.to_dict()))
    teacher = find_teacher(str(tmp_path / "mae"), CPU)
    assert teacher.clip_spec.num_frames == 4
    assert teach(teacher, clips(dataset, "test"), ("circle", "square"), 2).shape == (4, 2)
    with pytest.raises(DataError, match="does not know 1 of the 2 classes: hexagon"):
        teach(teacher, clips(dataset, "test"), ("circle", "hexagon"), 2)
    (tmp_path / "mae" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="teacher mae cannot be loaded"):
        find_teacher(str(tmp_path / "mae"), CPU)


def test_clips_of_val_and_test_never_teach(dataset: Path, tmp_path: Path) -> None:
    splits = read_splits(DataSource(str(dataset)))
    evaluated = [clips(dataset, "val"), clips(dataset, "test")]
    more = tmp_path / "more"
    write_clip(more / "new", shape_clip(3, 99))
    shutil.copytree(splits.test[0].path, more / "renamed" / "a copy")
    number = int(splits.val[0].path.name[-2:])
    kind = ("circle", "square").index(splits.val[0].label)
    darker = (shape_clip(kind, number) * 0.9).astype(np.uint8)
    write_clip(more / "darker", darker)
    write_clip(more / "broken", shape_clip(0, 5))
    (more / "broken" / "0.png").write_bytes(b"no image")
    found = find_unlabelled(str(more), splits, evaluated)
    assert [sample.name for sample in found] == ["unlabelled/new"]
    with pytest.raises(DataError, match="no videos that are not in the data set already"):
        find_unlabelled(str(dataset), splits, evaluated)
    with pytest.raises(DataError, match="There is no folder"):
        find_unlabelled(str(tmp_path / "none"), splits, evaluated)


def test_a_student_is_trained(finished: tuple[Path, dict[str, Any]], dataset: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "more", 4, classes=("pentagon", "hexagon", "octagon", "star"))
    plan = Distillation(teacher=str(finished[0]), temperature=3.0, unlabelled=str(tmp_path / "more"))
    recipe = recipe_of("paper", TINY | {"init": "scratch:vivit-tiny"})
    report = train(recipe, DataSource(str(dataset)), tmp_path / "run", distillation=plan)
    assert report["distillation"]["temperature"] == 3.0
    assert report["data"]["unlabelled"] > 0
    assert report["data"]["split"]["train"] == 28
    assert Recognizer.from_pretrained(tmp_path / "run").labels == ("circle", "square")
