from pathlib import Path

import numpy as np
import pytest

from drawings import make_people, make_training
from drawings.actions import ACTIONS
from drawings.drawing import generator, random_look, render
from drawings.figure import FOREARM, UPPER_ARM, at, reach
from drawings.make_examples import EXAMPLES, EXAMPLES_FOLDER, MAX_BYTES, make, write_mp4
from drawings.scenes import SCENES, TRAINING_SCENES
from finetune.config.hmdb_simp import HMDB_SIMP
from hmdb.model.loading import BUNDLED
from hmdb.page.views.preview import plays_in_browser
from hmdb.recognizer import Recognizer
from hmdb.video import open_video


def test_limbs_keep_their_length() -> None:
    shoulder = at(0, 1)
    for target in (at(0.2, 0.9), at(0.01, 1.0), at(3, 4), at(0, 1)):
        elbow, wrist = reach(shoulder, target, UPPER_ARM, FOREARM, 1)
        assert np.hypot(*(elbow - shoulder)) == pytest.approx(UPPER_ARM)
        assert np.hypot(*(wrist - elbow)) == pytest.approx(FOREARM, abs=1e-3)
    np.testing.assert_allclose(reach(shoulder, at(0.2, 0.9), UPPER_ARM, FOREARM, 1)[1], at(0.2, 0.9))


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_can_be_drawn_and_moves(action: str) -> None:
    assert action in HMDB_SIMP
    frames = render(action, seed=1, fps=3, size=(160, 120))
    assert frames.dtype == np.uint8
    assert frames.shape[1:] == (120, 160, 3)
    changes = np.abs(np.diff(frames.astype(int), axis=0)).max(axis=(1, 2, 3))
    assert (changes > 5).all()
    assert np.median(changes) > 60


def test_a_seed_always_gives_the_same_clip() -> None:
    settings = {"seconds": 0.5, "fps": 4, "size": (80, 60)}
    first, same, other = (render("golf", seed, **settings) for seed in (1, 1, 2))  # type: ignore[arg-type]
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


@pytest.mark.parametrize("scene", SCENES | TRAINING_SCENES)
def test_every_scene_can_be_drawn(scene: str) -> None:
    assert render("wave", seed=0, scene=scene, seconds=0.2, fps=10).shape == (2, 240, 320, 3)


def test_an_unknown_action_is_refused() -> None:
    with pytest.raises(ValueError, match="known are cartwheel, "):
        render("juggle", seed=0)


@pytest.mark.parametrize("action", EXAMPLES)
def test_the_committed_examples(action: str) -> None:
    path = EXAMPLES_FOLDER / f"{action}.mp4"
    assert path.stat().st_size <= MAX_BYTES
    assert plays_in_browser(path)
    video = open_video(path)
    assert video.size == (320, 240)
    assert video.duration is not None
    assert 3 <= video.duration <= 5


def test_the_script_reproduces_the_committed_examples(tmp_path: Path) -> None:
    (made,) = make(tmp_path, ["wave"])
    drawn, kept = (
        open_video(path).frames_at([0, 30, 60]).pixels.astype(int) for path in (made, EXAMPLES_FOLDER / "wave.mp4")
    )
    assert np.abs(drawn - kept).mean() < 1


def test_training_clips_share_no_seed_scene_or_colour_with_the_examples() -> None:
    assert not SCENES.keys() & TRAINING_SCENES.keys()
    assert {scene for _, scene in EXAMPLES.values()} <= SCENES.keys()
    shown = [random_look(generator(action, seed)) for action, (seed, _) in EXAMPLES.items()]
    first = make_training.FIRST_SEED
    assert first > max(seed for seed, _ in EXAMPLES.values())
    for clip in (make_training.plan(action, first + number) for action in ACTIONS for number in range(20)):
        assert clip.scene in TRAINING_SCENES
        for part in ("shirt", "trousers", "shoes"):
            color = np.array(getattr(clip.look, part))
            assert min(np.linalg.norm(color - getattr(look, part)) for look in shown) > 20


@pytest.mark.parametrize("action", ACTIONS)
def test_a_training_clip_shows_the_gist_of_its_action(action: str) -> None:
    begin, end = ACTIONS[action][1].gist
    clips = [make_training.plan(action, seed) for seed in range(1000, 1050)]
    for clip in clips:
        assert 1 <= clip.seconds <= 6
        assert 12 <= clip.fps <= 30
        assert clip.size[0] % 2 == clip.size[1] % 2 == 0
        assert 0 <= clip.start <= begin
        assert clip.start + clip.seconds * clip.tempo * make_training.MIN_PACE >= end - 1e-6
    assert clips[0] == make_training.plan(action, 1000)
    assert len({clip.scene for clip in clips}) > 5
    assert len({clip.size for clip in clips}) > 20


def test_training_clips_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_training, "ACTIONS", {action: ACTIONS[action] for action in ("throw", "wave")})
    paths = make_training.make(tmp_path, clips=1)
    assert [str(path.relative_to(tmp_path)) for path in paths] == ["throw/throw_0.mp4", "wave/wave_0.mp4"]
    clip, video = make_training.plan("throw", make_training.FIRST_SEED), open_video(paths[0])
    assert video.size == clip.size
    assert video.duration == pytest.approx(clip.seconds, abs=0.1)
    with pytest.raises(ValueError, match="clips is 0"):
        make_training.make(tmp_path, clips=0)
    with pytest.raises(ValueError, match="seed is -1"):
        make_training.make(tmp_path, seed=-1)


def test_a_person_has_one_background_and_ten_actions(tmp_path: Path) -> None:
    walls = []
    for action in make_people.ACTIONS:
        frames = make_people.draw_clip("chen", action)
        assert frames.dtype == np.uint8
        assert frames.shape[1:] == (144, 192, 3)
        assert np.abs(np.diff(frames[::3].astype(int), axis=0)).max() > 60
        walls.append(np.median(frames[:, :20], axis=0))  # above the heads
    assert len(make_people.ACTIONS) == 10
    assert all((wall == walls[0]).all() for wall in walls)
    other = np.median(make_people.draw_clip("hana", "bend")[:, :20], axis=0)
    assert (other != walls[0]).any()


def test_the_people_are_written_by_action_and_name(tmp_path: Path) -> None:
    paths = make_people.make(tmp_path, people=("anna", "ivo"), actions=("run", "wave2"))
    names = [str(path.relative_to(tmp_path)) for path in paths]
    assert names == [f"{action}/{name}_{action}.mp4" for action in ("run", "wave2") for name in ("anna", "ivo")]
    video = open_video(paths[0])
    assert video.size == (192, 144)
    assert video.duration == pytest.approx(1.1, abs=0.3)


def test_the_bundled_checkpoint_knows_the_examples_and_rejects_a_covered_camera(tmp_path: Path) -> None:
    recognizer = Recognizer.from_pretrained(BUNDLED, device="cpu")
    for action in EXAMPLES:
        prediction = recognizer(EXAMPLES_FOLDER / f"{action}.mp4")
        assert prediction.label == action
        assert prediction.probability > 0.7, action
        assert prediction.is_known, action
    rng = np.random.default_rng(0)
    frames = 90 + rng.normal(0, 2, (20, 120, 160, 3)) + rng.normal(0, 12, (20, 1, 1, 1))
    dark = recognizer(write_mp4(frames.clip(0, 255).astype(np.uint8), tmp_path / "dark.mp4"))
    assert dark.clip.moves
    assert dark.rejection_reason == "It is unlike every action that the model knows."
