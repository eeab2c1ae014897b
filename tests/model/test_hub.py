"""Resolving checkpoints on a Hub that answers, and on one that cannot be reached."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from hmdb.errors import ModelError
from hmdb.model import KINETICS_400
from hmdb.model import loading as model
from hmdb.model.hub import CONVERSION_ROBOT, HUB_SECONDS
from tests.support.hub import HubServer


@pytest.fixture(params=["refused", "black hole", "no name server"])
def no_hub(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """The models that were asked for of a Hub that refuses connections, of one that accepts them and never says a
    word, and of one whose name is looked up for ever.
    """
    asked: list[str] = []
    over = threading.Event()
    ask = HfApi.model_info

    def recorded(api: HfApi, name: str, **options: Any) -> Any:
        asked.append(name)
        if request.param == "no name server":
            over.wait()
        return ask(api, name, **options)

    monkeypatch.setattr(HfApi, "model_info", recorded)
    monkeypatch.setattr("hmdb.model.hub.HUB_SECONDS", 0.1)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if request.param == "black hole":
            server.listen(8)
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
        monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", endpoint)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        yield asked
        over.set()


def test_unreachable_hub_falls_back_to_bundled_after_one_request(
    no_hub: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HMDB_MODEL", "someone/timesformer")
    loaded = model.load()
    assert no_hub == ["someone/timesformer"]
    assert HUB_SECONDS < 4, "which is all that a start without the Hub waits for"
    assert loaded.checkpoint.name == "bundled"
    assert loaded.notes == (
        "someone/timesformer is not in use: someone/timesformer cannot be downloaded: the Hub cannot be reached.",
        f"{KINETICS_400} is not in use: {KINETICS_400} cannot be downloaded: the Hub cannot be reached.",
    )


@pytest.mark.usefixtures("no_hub")
def test_model_named_by_argument_has_no_fallback() -> None:
    with pytest.raises(ModelError, match=r"^someone/timesformer cannot be downloaded: the Hub cannot be reached\.$"):
        model.load("someone/timesformer")


@pytest.mark.parametrize("name", ["no/such/folder", "/no/such", "./missing", "justaname"])
def test_invalid_model_name_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="neither a local folder nor a Hub id"):
        model.load(name)


def test_variable_may_name_a_folder(monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    monkeypatch.setenv("HMDB_MODEL", str(checkpoint))
    assert model.load().checkpoint.name == "tiny"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    with HubServer() as hub:
        hub.use(monkeypatch, tmp_path / "cache")
        yield hub


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_hub_model_is_loaded_with_its_commit(hub: HubServer, checkpoint: Path) -> None:
    commit = hub.add("someone/model", contents(checkpoint))
    loaded = model.load("someone/model", device="cpu")
    assert (loaded.checkpoint.name, loaded.checkpoint.revision) == ("someone/model", commit)


def test_cached_model_works_offline(hub: HubServer, checkpoint: Path) -> None:
    commit = hub.add("someone/model", contents(checkpoint))
    model.load("someone/model")
    hub.broken[".*"] = 0
    assert model.load("someone/model").checkpoint.revision == commit


def test_offline_revision_is_not_replaced_by_another(hub: HubServer, checkpoint: Path) -> None:
    files = contents(checkpoint)
    hub.add(KINETICS_400, {name: content for name, content in files.items() if name != "model.safetensors"})
    for number in range(1, 6):
        hub.add_pull_request(KINETICS_400, f"Change {number}", "someone", files)
    model.load(KINETICS_400)
    hub.broken[".*"] = 0
    with pytest.raises(ModelError, match="Hub cannot be reached"):
        model.load(KINETICS_400, "v9")


def test_kinetics_weights_come_from_their_conversion(hub: HubServer, checkpoint: Path) -> None:
    files = contents(checkpoint)
    pickled = {name: content for name, content in files.items() if name != "model.safetensors"}
    hub.add(KINETICS_400, pickled | {"pytorch_model.bin": b"a pickle"})
    for number in range(1, 6):
        hub.add_pull_request(KINETICS_400, f"Change {number}", "someone", files)
    loaded = model.load(KINETICS_400)
    assert loaded.checkpoint.revision == hub.repositories[f"models/{KINETICS_400}"].refs["refs/pr/5"]
    assert not [request for request in hub.requests if "pytorch_model.bin" in request]


def test_robot_conversion_is_loaded_instead_of_a_pickle(hub: HubServer, checkpoint: Path) -> None:
    files = contents(checkpoint)
    pickled = {name: content for name, content in files.items() if name != "model.safetensors"}
    hub.add("someone/pickle", pickled)
    hub.add_pull_request("someone/pickle", "Adding `safetensors` variant of this model", "an-impostor", files)
    with pytest.raises(ModelError, match="no safetensors on the Hub, and pickles are not loaded"):
        model.load("someone/pickle")
    hub.add_pull_request("someone/pickle", "Adding `safetensors` variant of this model", CONVERSION_ROBOT, files)
    assert (
        model.load("someone/pickle").checkpoint.revision == hub.repositories["models/someone/pickle"].refs["refs/pr/2"]
    )


KINETICS_600 = "facebook/timesformer-base-finetuned-k600"


def test_conversion_is_found_among_other_pull_requests(hub: HubServer, checkpoint: Path) -> None:
    """Like the Kinetics-600 weights: the fifth pull request only fixes configurations, and no other has the weights."""
    files = contents(checkpoint)
    configs = {name: content for name, content in files.items() if name != "model.safetensors"}
    hub.add(KINETICS_600, configs | {"pytorch_model.bin": b"a pickle"})
    for number in range(1, 5):
        hub.add_pull_request(KINETICS_600, f"Change {number}", "someone", configs)
    hub.add_pull_request(KINETICS_600, "fix config files", "someone", configs)
    with pytest.raises(ModelError, match="pickles are not loaded: request a conversion at"):
        model.load(KINETICS_600)
    hub.add_pull_request(KINETICS_600, "Adding `safetensors` variant of this model", CONVERSION_ROBOT, configs)
    hub.add_pull_request(KINETICS_600, "Adding `safetensors` variant of this model", CONVERSION_ROBOT, files)
    found = model.load(KINETICS_600).checkpoint.revision
    assert found == hub.repositories[f"models/{KINETICS_600}"].refs["refs/pr/7"]
    assert not [request for request in hub.requests if "pytorch_model.bin" in request]
    hub.broken[".*"] = 0
    assert model.load(KINETICS_600).checkpoint.revision == found


@pytest.mark.parametrize("gone", ["its weights", "its pull request"])
def test_deleted_known_conversion_is_searched_again(hub: HubServer, checkpoint: Path, gone: str) -> None:
    files = contents(checkpoint)
    configs = {name: content for name, content in files.items() if name != "model.safetensors"}
    hub.add(KINETICS_400, configs)
    for number in range(1, 6 if gone == "its weights" else 3):
        hub.add_pull_request(KINETICS_400, f"Change {number}", "someone", configs)
    revision = hub.add_pull_request(KINETICS_400, "Adding `safetensors` variant", CONVERSION_ROBOT, files)
    found = model.load(KINETICS_400).checkpoint.revision
    assert found == hub.repositories[f"models/{KINETICS_400}"].refs[revision]


def test_missing_model_in_the_variable_falls_back_to_kinetics(
    hub: HubServer, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(KINETICS_400, contents(checkpoint))
    monkeypatch.setenv("HMDB_MODEL", "someone/missing")
    loaded = model.load()
    assert loaded.checkpoint.name == KINETICS_400
    assert loaded.notes == (
        "someone/missing is not in use: someone/missing is not on the Hub, or is private: set HF_TOKEN to access it.",
    )


@pytest.mark.parametrize(
    ("name", "revision", "message"),
    [
        ("someone/missing", None, "not on the Hub, or is private"),
        ("someone/model", "v9", "has no revision v9"),
        ("bad//name", None, "neither a local folder nor a Hub id"),
        ("a b/c", None, "not a valid Hub id"),
    ],
)
def test_missing_on_the_hub_is_reported(
    hub: HubServer, checkpoint: Path, name: str, revision: str | None, message: str
) -> None:
    hub.add("someone/model", contents(checkpoint))
    with pytest.raises(ModelError, match=message):
        model.load(name, revision)
