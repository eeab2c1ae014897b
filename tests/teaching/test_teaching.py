"""Teaching on features that are made up, and on the tiny network."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf
from transformers import AutoModelForVideoClassification

from hmdb.cli import main
from hmdb.clips.clip import ClipSpec
from hmdb.errors import DataError, ModelError
from hmdb.export import export
from hmdb.model.loading import load
from hmdb.recognizer import Recognizer
from hmdb.teaching.features import NONE, ClipFeatures, assemble, part_gradient
from hmdb.teaching.fitting import Taught, fit
from hmdb.teaching.head import Backbone
from hmdb.teaching.lda import Span, fit_lda
from hmdb.teaching.storage import ARRAYS_FILE, HEAD_FILE, read_zip, write_checkpoint, write_zip
from tests.support.checkpoints import one_line
from tests.support.checkpoints import write_checkpoint as write_network
from tests.support.clips import moving_bar, write_mp4

WIDTH = 24
BACKBONE = Backbone(name="made up", revision=None, sha256="0" * 64, width=WIDTH)


def made_up(
    label: str, whole: float, change: float, count: int = 6, *, seed: int = 0, groups: Sequence[str | None] = (None,)
) -> list[ClipFeatures]:
    """Clips of an action at `whole` along one feature, of which the halves differ by `change` along another."""
    rng = np.random.default_rng([seed, *label.encode()])
    clips = []
    for index in range(count):
        parts = np.repeat(rng.normal(0, 0.3, (1, WIDTH)), 3, axis=0)
        parts[:, 0] += whole
        parts[1:, 1] += np.array([-change, change]) + rng.normal(0, 0.1, 2)
        group = groups[index % len(groups)]
        clips.append(ClipFeatures(label=label, parts=parts.astype(np.float32), source=f"{label}{index}", group=group))
    return clips


def teach(clips: Sequence[ClipFeatures]) -> Taught:
    return fit(clips, BACKBONE, ClipSpec())


def named(taught: Taught, clips: Sequence[ClipFeatures]) -> list[str]:
    parts = np.stack([clip.parts for clip in clips])[:, : taught.head.num_views]
    return [taught.head.labels[index] for index in taught.head.logits(parts).argmax(axis=1)]


def test_lda_in_the_span_is_that_in_all_features() -> None:
    rng = np.random.default_rng(0)
    features, classes = rng.normal(size=(12, 40)), np.repeat([0, 1, 2], 4)
    span = Span.of(features)
    weight, bias = span.lift(*fit_lda(span.project(features), classes, width=40))
    means = np.stack([features[classes == each].mean(axis=0) for each in range(3)])
    covariance, _ = ledoit_wolf(features - means[classes], assume_centered=True)
    expected = np.linalg.solve(covariance, (means - features.mean(axis=0)).T).T
    np.testing.assert_allclose(weight, expected, rtol=1e-8, atol=1e-8)
    shifted = means - features.mean(axis=0)
    np.testing.assert_allclose(bias + weight @ features.mean(axis=0), -0.5 * (expected * shifted).sum(axis=1))


def test_forwards_and_backwards_are_told_apart_by_halves() -> None:
    taught = teach(made_up("open", 0, 1) + made_up("close", 0, -1))
    assert taught.head.assembly == "halves"
    assert taught.validation.accuracy == 1
    new = made_up("open", 0, 1, seed=1) + made_up("close", 0, -1, seed=1)
    assert named(taught, new) == [clip.label for clip in new]


def test_motion_without_direction_is_told_apart_by_spread() -> None:
    shake = [clip for sign in (1, -1) for clip in made_up("shake", 0, sign, 4, seed=sign + 1)]
    taught = teach(shake + made_up("hold", 0, 0, 8))
    assert taught.head.assembly == "spread"
    assert taught.validation.accuracy == 1


@pytest.mark.parametrize("assembly", ["whole", "halves", "spread"])
def test_gradient_of_parts_is_that_of_the_assembled_features(assembly: str) -> None:
    rng = np.random.default_rng(0)
    parts, step = rng.normal(size=(3, 5)), 1e-6 * rng.normal(size=(3, 5))
    weight = rng.normal(size=5 if assembly == "whole" else 10)
    before, after = (assemble(each[None], assembly)[0] @ weight for each in (parts, parts + step))
    assert after - before == pytest.approx((part_gradient(weight, parts, assembly) * step).sum(), rel=1e-4)


def test_clips_of_a_group_are_left_out_together() -> None:
    """Each person's two clips of an action are alike, and unlike those of others: only a leak would be right."""
    rng = np.random.default_rng(0)
    clips = []
    for label in ("a", "b"):
        for person in range(6):
            base = rng.normal(size=(1, WIDTH)).repeat(3, axis=0).astype(np.float32)
            for take in range(2):
                parts = base + np.float32(0.001) * np.float32(take + 1)
                clips.append(ClipFeatures(label=label, parts=parts, source=f"{label}{person}{take}", group=None))
    assert (leaking := teach(clips).validation.accuracy) is not None
    assert leaking == 1
    grouped = [replace(clip, group=clip.source[:-1]) for clip in clips]
    assert (honest := teach(grouped).validation.accuracy) is not None
    assert honest < 0.9


def test_too_few_clips_say_nothing_but_answer() -> None:
    clips = made_up("left", 2, 0, 2) + made_up("right", -2, 0, 5)
    taught = teach(clips)
    assert taught.validation.accuracy is None
    assert taught.validation.sentence == "There are too few clips to say: left has 2 of at least 3."
    assert taught.head.detector is None
    assert named(taught, clips) == [clip.label for clip in taught.clips]


def test_one_recording_says_nothing() -> None:
    taught = teach(made_up("a", 2, 0, groups=["x"]) + made_up("b", -2, 0, groups=["x", "y"]))
    assert taught.validation.sentence.startswith("All clips of a are of one recording or person")


def test_strangers_are_rejected_with_negatives() -> None:
    actions = made_up("a", 3, 0) + made_up("b", -3, 0)
    taught = teach(actions + made_up(NONE, 0, 0, 12))
    assert taught.head.labels == ("a", "b")
    assert taught.validation.with_negatives
    assert (taught.validation.strangers, taught.validation.strangers_accepted) == (12, 0)
    for clips, known in ((made_up("a", 3, 0, seed=5), True), (made_up("c", 0, 0, seed=5), False)):
        parts = np.stack([clip.parts for clip in clips])[:, : taught.head.num_views]
        scores = taught.head.scores(parts, taught.head.logits(parts))
        assert sum((score or 0) >= 0 for score in scores) >= 4 if known else all((score or 0) < 0 for score in scores)


def test_mirrored_copies_are_left_away_for_sides_and_where_they_harm() -> None:
    def with_copies(clips: list[ClipFeatures], flip: float = 1) -> list[ClipFeatures]:
        return [replace(clip, mirrored=clip.parts * np.float32(flip)) for clip in clips]

    assert teach(with_copies(made_up("up", 2, 0) + made_up("down", -2, 0))).mirrored
    assert not teach(with_copies(made_up("turn left", 2, 0) + made_up("other", -2, 0))).mirrored
    assert not teach(with_copies(made_up("up", 2, 0) + made_up("down", -2, 0), -1)).mirrored


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        (made_up("a", 0, 0), "Two actions are needed to tell apart, and there is a alone."),
        (made_up("a", 0, 0) + made_up(NONE, 0, 0), "Two actions are needed"),
        (made_up("a b", 0, 0) + made_up("A_b", 1, 0), "A_b and a b are the same name"),
        ([*made_up("a", 0, 0), replace(made_up("a", 0, 0)[0], label="b")], "a0 of b and a0 of a are the same clip"),
    ],
)
def test_bad_clips_are_refused_in_one_line(clips: list[ClipFeatures], message: str) -> None:
    with pytest.raises(DataError) as error:
        teach(clips)
    assert message in str(error.value)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("label", ["", " ", "two\nlines", "x" * 201])
def test_bad_names_are_refused(label: str) -> None:
    with pytest.raises(DataError, match="The name of an action must be"):
        ClipFeatures(label=label, parts=np.zeros((3, WIDTH), np.float32))


def test_features_that_are_not_finite_are_refused() -> None:
    with pytest.raises(DataError, match=r"The features of x\.mp4 are not finite numbers"):
        ClipFeatures(label="a", parts=np.full((3, WIDTH), np.nan, np.float32), source="x.mp4")


@pytest.fixture(scope="module")
def taught(recognizer: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> Taught:
    """Three actions of bars that move further or less far, taught to the tiny network."""
    folder = tmp_path_factory.mktemp("taught")
    clips = []
    for label, length in (("short", 12), ("middle", 60), ("long", 110)):
        for index in range(3):
            path = write_mp4(folder / f"{label}{index}.mp4", moving_bar(length + 5 * index))
            clips.append(recognizer.clip_features(path, label, mirror=True))
    return recognizer.teach(clips)


@pytest.fixture
def halves(recognizer: Recognizer, taught: Taught) -> Taught:
    """The same with a head on halves, whatever was chosen."""
    width, rng = taught.head.backbone.width, np.random.default_rng(0)
    weight = rng.normal(size=(3, 2 * width)).astype(np.float32)
    return replace(taught, head=replace(taught.head, assembly="halves", weight=weight, detector=None))


def zipped(taught: Taught, **changes: bytes) -> io.BytesIO:
    file = io.BytesIO()
    write_zip(taught, file)
    if changes:
        with zipfile.ZipFile(file) as archive:
            contents = {name: archive.read(name) for name in archive.namelist()} | {
                {"arrays": ARRAYS_FILE, "head": HEAD_FILE}.get(name, name): content for name, content in changes.items()
            }
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in contents.items():
                archive.writestr(name, content)
    return file


def test_taught_recognizer_answers_as_any_other(recognizer: Recognizer, halves: Taught, video: Path) -> None:
    mine = recognizer.with_head(halves.head)
    assert mine.loaded.network is recognizer.loaded.network
    prediction = mine(video)
    assert sorted(prediction.labels) == ["long", "middle", "short"]
    assert sum(prediction.probabilities) == pytest.approx(1)
    explanation = mine.explain(prediction, label="short")
    assert explanation.heat.shape == recognizer.explain(video).heat.shape
    assert explanation.heat.max() == 1
    assert mine.faithfulness(explanation).label == "short"
    np.testing.assert_allclose(mine.embedding(video), recognizer.embedding(video), atol=1e-5)
    assert {answer.label for answer in mine.timeline(video).answers} <= {*halves.head.labels, None}
    json.dumps(prediction.to_dict())
    assert len(recognizer(video).labels) == 5, "the recognizer that taught is as before"


def test_map_of_a_whole_head_is_that_of_its_own_network(recognizer: Recognizer, taught: Taught, video: Path) -> None:
    """A head with the weights of the network's classifier has the classifier's map."""
    classifier: Any = load(recognizer.loaded.checkpoint.folder, device="cpu").network.classifier
    weight, bias = (each.detach().numpy() for each in (classifier.weight, classifier.bias))
    head = replace(
        taught.head,
        labels=recognizer.labels, assembly="whole", weight=weight, bias=bias, whole_weight=weight, whole_bias=bias,
        temperature=1.0, detector=None,
    )  # fmt: skip
    mine = recognizer.with_head(head)
    expected, actual = recognizer.explain(video), mine.explain(video)
    assert actual.label == expected.label
    np.testing.assert_allclose(actual.heat, expected.heat, atol=1e-4)


def test_zip_is_small_and_gives_the_same_answers(recognizer: Recognizer, taught: Taught, video: Path) -> None:
    file = zipped(taught)
    assert file.getbuffer().nbytes <= 200_000
    again = recognizer.with_head(read_zip(file))(video)
    expected = recognizer.with_head(taught.head)(video)
    assert again.to_dict() == expected.to_dict()


def test_broken_zips_are_refused_in_one_line(taught: Taught) -> None:
    about = json.loads(zipfile.ZipFile(zipped(taught)).read(HEAD_FILE))
    broken = {
        "not a zip": io.BytesIO(b"no zip"),
        "cut": io.BytesIO(zipped(taught).getvalue()[:-200]),
        "another file": zipped(taught, **{"../../evil": b"x"}),
        "huge": zipped(taught, head=b" " * (17 * 2**20)),
        "no JSON": zipped(taught, head=b"{"),
        "deep JSON": zipped(taught, head=b"[" * 100_000),
        "no safetensors": zipped(taught, arrays=b"x"),
        "another format": zipped(taught, head=json.dumps(about | {"format": 2}).encode()),
        "no labels": zipped(taught, head=json.dumps(about | {"labels": []}).encode()),
        "NaN": zipped(taught, head=json.dumps(about | {"temperature": float("nan")}).encode()),
        "other labels": zipped(taught, head=json.dumps(about | {"labels": ["a", "b"]}).encode()),
    }
    for name, file in broken.items():
        with pytest.raises(ModelError) as error:
            read_zip(file)
        assert one_line(error), name


def test_head_of_another_network_is_refused(recognizer: Recognizer, taught: Taught) -> None:
    other = replace(taught.head, backbone=replace(taught.head.backbone, sha256="1" * 64))
    with pytest.raises(ModelError, match="This head was taught on another network, tiny"):
        recognizer.with_head(other)


@pytest.mark.parametrize("whole", [True, False])
def test_checkpoint_gives_the_same_answers(
    recognizer: Recognizer, taught: Taught, halves: Taught, video: Path, tmp_path: Path, whole: bool
) -> None:
    head = taught.head
    linear = replace(head, assembly="whole", weight=head.whole_weight, bias=head.whole_bias, detector=None)
    chosen = replace(taught, head=linear) if whole else halves
    write_checkpoint(chosen, recognizer.loaded.checkpoint.folder, tmp_path / "mine")
    again = Recognizer.from_pretrained(tmp_path / "mine", device="cpu")(video)
    expected = recognizer.with_head(chosen.head)(video)
    assert again.labels == expected.labels
    assert again.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    plain = AutoModelForVideoClassification.from_pretrained(tmp_path / "mine", local_files_only=True)
    np.testing.assert_array_equal(plain.classifier.weight.detach().numpy(), chosen.head.whole_weight)
    assert "| short | 3 |" in (tmp_path / "mine" / "README.md").read_text(encoding="utf-8")


def test_damaged_head_of_a_checkpoint_is_refused(recognizer: Recognizer, taught: Taught, tmp_path: Path) -> None:
    write_checkpoint(taught, recognizer.loaded.checkpoint.folder, tmp_path / "mine")
    (tmp_path / "mine" / ARRAYS_FILE).unlink()
    with pytest.raises(ModelError, match=r"The taught head of mine is incomplete: head\.safetensors is missing"):
        load(tmp_path / "mine", device="cpu")


def test_onnx_cannot_hold_halves(recognizer: Recognizer, halves: Taught, tmp_path: Path) -> None:
    loaded = recognizer.with_head(halves.head).loaded
    with pytest.raises(ModelError, match="taught with the halves of each clip"):
        export(loaded, tmp_path / "onnx")


@pytest.fixture
def own_videos(tmp_path: Path) -> Path:
    for number, label in enumerate(("one", "two", NONE)):
        (tmp_path / "mine" / label).mkdir(parents=True)
        for index in range(3):
            write_mp4(tmp_path / "mine" / label / f"p{index}_{label}.mp4", moving_bar(10 + 3 * index + 30 * number))
    return tmp_path / "mine"


def test_command_teaches_and_the_zip_answers(
    own_videos: Path, checkpoint: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    options = ["--model", str(checkpoint), "--device", "cpu", "--mirror"]
    assert main(["teach", str(own_videos), "--output", str(out), "--group-by", r"^(p\d)_", *options]) == 0
    printed = capsys.readouterr().out
    assert "one    3 clips" in printed
    assert "clips of none" in printed
    answers = []
    for model in ([str(checkpoint), "--head", str(out / "mine.zip")], [str(out)]):
        assert main([str(video), "--json", "--device", "cpu", "--dtype", "float32", "--model", *model]) == 0
        (answer,) = json.loads(capsys.readouterr().out)
        answers.append({each["label"]: each["probability"] for each in answer["top"]})
    assert answers[0] == pytest.approx(answers[1], abs=1e-5)
    assert set(answers[0]) == {"one", "two"}
    assert main(["teach", str(own_videos), "--output", str(out)]) == 1
    assert "is not an empty folder" in capsys.readouterr().err


def test_command_refuses_bad_folders_in_one_line(
    own_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_videos / "empty").mkdir()
    out = str(tmp_path / "out")
    assert main(["teach", str(own_videos), "--output", out]) == 1
    assert capsys.readouterr().err == "The action empty has no clips. Add some, or remove its folder.\n"
    (own_videos / "empty").rmdir()
    assert main(["teach", str(own_videos), "--output", out, "--group-by", "^(x)"]) == 1
    assert "finds nothing in the name" in capsys.readouterr().err
    assert main(["teach", str(own_videos / "gone"), "--output", out]) == 1
    assert "neither a folder" in capsys.readouterr().err


def test_finetune_starts_from_a_taught_checkpoint(recognizer: Recognizer, taught: Taught, tmp_path: Path) -> None:
    write_checkpoint(taught, recognizer.loaded.checkpoint.folder, tmp_path / "mine")
    folder = write_network(tmp_path / "next", str(tmp_path / "mine"))
    assert not (folder / HEAD_FILE).exists()
    assert len(load(folder, device="cpu").labels) == 25
