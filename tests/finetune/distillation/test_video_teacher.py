import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import ResNetBackbone, ResNetConfig, VideoMAEConfig, VideoMAEForVideoClassification

from finetune.config.data import DataSource
from finetune.config.distillation import DistillationConfig
from finetune.config.recipes import recipe_of
from finetune.data.dataset import UNLABELLED, ClipDataset
from finetune.data.leakage import fingerprints
from finetune.data.load import find_extra
from finetune.data.splits import read_splits
from finetune.distillation.trainer import distillation_loss
from finetune.distillation.video_teacher import Teacher, find_teacher, teach
from finetune.jobs.distill import distill
from finetune.jobs.train import train
from finetune.report.schema import Report
from finetune.training.trainer import ClipTrainer
from hmdb.clips.clip import ClipSpec
from hmdb.errors import DataError, ModelError
from hmdb.model.preprocess import PixelSpec
from hmdb.recognizer import Recognizer
from tests.finetune.conftest import TINY, training
from tests.support.datasets import shape_clip, write_clip, write_dataset

CPU = torch.device("cpu")
EVEN = ClipSpec(sampler="equidistant")
PIXELS = PixelSpec.paper(32)
PLAN = DistillationConfig(teacher="teacher")


def clips(dataset: Path, part: str) -> ClipDataset:
    splits = read_splits(DataSource(str(dataset)))
    return ClipDataset(splits.by_name()[part], splits.classes, EVEN, PIXELS)


def video_teacher(model: Path) -> Teacher:
    teacher = find_teacher(str(model), CPU)
    assert isinstance(teacher, Teacher)
    return teacher


def test_the_loss_is_cross_entropy_without_a_teacher_and_none_where_both_agree() -> None:
    logits, classes = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    plain = torch.nn.functional.cross_entropy(logits, classes)
    only_labels = DistillationConfig(teacher="t", weight=0.0)
    assert distillation_loss(logits, classes, torch.zeros(2, 2), only_labels, 0.0) == pytest.approx(float(plain))
    only_teacher = DistillationConfig(teacher="t", weight=1.0)
    assert distillation_loss(logits, classes, logits, only_teacher, 0.0) == pytest.approx(0.0, abs=1e-6)


def test_a_clip_without_a_label_learns_from_the_teacher_alone() -> None:
    logits = torch.tensor([[2.0, 0.0]], requires_grad=True)
    targets = torch.tensor([[0.0, 2.0]])
    loss = distillation_loss(logits, torch.tensor([UNLABELLED]), targets, PLAN, 0.1)
    (gradient,) = torch.autograd.grad(loss, [logits])
    assert gradient[0, 0] > 0 > gradient[0, 1]


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"weight": 1.5}, {"features": -1.0}])
def test_settings_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=next(iter(wrong))):
        DistillationConfig(teacher="t", **wrong)


def test_the_teacher_answers_as_it_does_alone(finished: tuple[Path, Report], dataset: Path) -> None:
    test = clips(dataset, "test")
    targets = teach(video_teacher(finished[0]), test, ("circle", "square"), batch_size=3)
    recognizer = Recognizer.from_pretrained(finished[0])
    assert targets.shape == (4, 2)
    for sample, row in zip(test.samples, targets, strict=True):
        assert recognizer(sample.path).label == ("circle", "square")[int(row.argmax())]
    swapped = teach(video_teacher(finished[0]), test, ("square", "circle"), batch_size=3)
    assert np.array_equal(swapped, targets[:, ::-1])


def test_any_video_classifier_teaches(dataset: Path, tmp_path: Path) -> None:
    config = VideoMAEConfig(
        image_size=32, num_frames=4, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        id2label={0: "square", 1: "circle"}, label2id={"square": 0, "circle": 1},
    )  # fmt: skip
    VideoMAEForVideoClassification(config).save_pretrained(tmp_path / "mae")
    (tmp_path / "mae" / "preprocessor_config.json").write_text(json.dumps(PIXELS.to_dict()))
    teacher = video_teacher(tmp_path / "mae")
    assert teacher.clip_spec.num_frames == 4
    assert teach(teacher, clips(dataset, "test"), ("circle", "square"), 2).shape == (4, 2)
    with pytest.raises(DataError, match="does not know 1 of the 2 classes: hexagon"):
        teach(teacher, clips(dataset, "test"), ("circle", "hexagon"), 2)
    (tmp_path / "mae" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="mae has no safetensors"):
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
    write_clip(more / ".thumbnails" / "new", shape_clip(3, 98))
    (more / "in circles").symlink_to(more)
    found = find_extra(str(more), splits, evaluated, fingerprints(*evaluated))
    assert [sample.name for sample in found] == ["more/new"]
    with pytest.raises(DataError, match="no videos but those that resemble clips of val or test"):
        find_extra(str(dataset), splits, evaluated, fingerprints(*evaluated))
    with pytest.raises(DataError, match="There is no folder"):
        find_extra(str(tmp_path / "none"), splits, evaluated, fingerprints(*evaluated))


def test_more_clips_have_labels_of_the_data(dataset: Path, tmp_path: Path) -> None:
    splits = read_splits(DataSource(str(dataset)))
    evaluated = [clips(dataset, "val"), clips(dataset, "test")]
    more = tmp_path / "more"
    write_clip(more / "circle" / "new", shape_clip(0, 99))
    shutil.copytree(splits.test[0].path, more / "square" / "a copy")
    found = find_extra(str(more), splits, evaluated, fingerprints(*evaluated), labelled=True)
    assert [(sample.name, sample.label) for sample in found] == [("more/circle/new", "circle")]
    write_clip(more / "hexagon" / "new", shape_clip(3, 99))
    with pytest.raises(DataError, match="has a folder hexagon, which is no class of shapes"):
        find_extra(str(more), splits, evaluated, fingerprints(*evaluated), labelled=True)


def test_distillation_refuses_mixed_and_weighted_clips(dataset: Path, tmp_path: Path) -> None:
    for changes in ({"mixup": 0.2}, {"class_weights": "balanced"}):
        with pytest.raises(DataError, match="leave out --mixup-alpha and --class-weights"):
            distill(PLAN, recipe_of("paper", TINY | changes), DataSource(str(dataset)), tmp_path / "run")


def test_a_student_is_trained(finished: tuple[Path, Report], dataset: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "more", 4, classes=("pentagon", "hexagon", "octagon", "star"))
    plan = DistillationConfig(teacher=str(finished[0]), temperature=3.0, unlabelled=str(tmp_path / "more"))
    recipe = recipe_of("paper", TINY | {"init": "scratch:vivit-tiny"})
    report = distill(plan, recipe, DataSource(str(dataset)), tmp_path / "run")
    plan_told = training(report).distillation
    assert plan_told
    assert plan_told.temperature == 3.0
    assert report.data.unlabelled > 0
    assert report.data.split.train == 28
    assert Recognizer.from_pretrained(tmp_path / "run").labels == ("circle", "square")


IMAGES = TINY | {
    "augment": "clips",
    "frames": 4,
    "ema": 0.8,
    "epochs": 3,
    "optimizer": "adamw",
    "learning_rate": 1e-3,
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> DistillationConfig:
    folder = tmp_path_factory.mktemp("images")
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    ResNetBackbone(config).save_pretrained(folder)
    PIXELS.save_pretrained(folder)
    return DistillationConfig(teacher=str(folder), weight=0.3)


def test_an_image_model_teaches_with_more_clips_and_averaged_weights(
    images: DistillationConfig, dataset: Path, tmp_path: Path
) -> None:
    write_dataset(tmp_path / "more", 3, classes=("circle",))
    source = DataSource(str(dataset), more=str(tmp_path / "more"))
    report = distill(images, recipe_of("paper", IMAGES), source, tmp_path / "run")
    assert report.data.more > 0 == report.data.unlabelled
    assert report.data.split.train == 28
    assert report.clip_spec.num_frames == 8
    assert f"plus {report.data.more} further clips" in (tmp_path / "run" / "report.md").read_text()
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"model.safetensors", "report.json"}
    recognizer = Recognizer.from_pretrained(tmp_path / "run")
    assert len(recognizer(dataset / "circle" / "clip_00").clip.frames) == 8
    plain = recipe_of("paper", TINY)
    with pytest.raises(DataError, match="set --augment clips"):
        distill(images, plain, source, tmp_path / "plain")


def test_an_image_model_teaches_in_one_process_alone(
    images: DistillationConfig, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune.jobs.distill.num_processes", lambda: 2)
    with pytest.raises(DataError, match="needs a single process: leave out accelerate launch"):
        distill(images, recipe_of("paper", IMAGES), DataSource(str(dataset)), tmp_path / "run")


def test_only_a_timesformer_trains_on_fewer_frames(dataset: Path, tmp_path: Path) -> None:
    recipe = recipe_of("paper", IMAGES | {"init": "scratch:vivit-tiny"})
    with pytest.raises(DataError, match="--train-num-frames is for TimeSformers only"):
        train(recipe, DataSource(str(dataset)), tmp_path / "run")


def test_a_student_of_images_resumes_where_it_was(
    images: DistillationConfig, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Averaged weights, the student's own and what it says of its teacher's features all go on."""
    recipe, source = recipe_of("paper", IMAGES), DataSource(str(dataset))
    whole = distill(images, recipe, source, tmp_path / "whole")
    original, steps = ClipTrainer.training_step, iter(range(100))

    def training_step(trainer: ClipTrainer, *arguments: Any, **options: Any) -> Any:
        if next(steps) == 6:  # in the second epoch
            raise KeyboardInterrupt
        return original(trainer, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(ClipTrainer, "training_step", training_step)
        with pytest.raises(KeyboardInterrupt):
            distill(images, recipe, source, tmp_path / "cut")
    cut = distill(images, recipe, source, tmp_path / "cut", resume=True)
    assert [row.loss for row in training(cut).epochs] == pytest.approx(
        [row.loss for row in training(whole).epochs], abs=1e-4
    )
    weights, others = (load_file(tmp_path / run / "model.safetensors") for run in ("whole", "cut"))
    assert max(float((weights[key] - others[key]).abs().max()) for key in weights) < 1e-4
