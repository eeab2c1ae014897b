"""The loopback Hub speaks what the Hub's own client expects."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

from tests.support.hub import TOKEN, USER, HubServer


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    with HubServer() as server:
        server.use(monkeypatch, tmp_path / "cache")
        yield server


def test_folder_survives_upload_and_download(hub: HubServer, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "runs").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 64)
    (folder / "runs" / "events").write_bytes(b"log")
    api = HfApi()
    assert api.whoami()["name"] == USER
    api.create_repo(f"{USER}/m", private=True)
    api.create_repo(f"{USER}/m", exist_ok=True)
    commit = api.upload_folder(repo_id=f"{USER}/m", folder_path=folder)
    found = Path(snapshot_download(f"{USER}/m", revision=commit.oid))
    for path in ("config.json", "model.safetensors", "runs/events"):
        assert (found / path).read_bytes() == (folder / path).read_bytes()
    assert hub.repositories[f"models/{USER}/m"].private


def test_pull_requests_are_revisions(hub: HubServer) -> None:
    hub.add("owner/m", {"pytorch_model.bin": b"x"})
    revision = hub.add_pull_request("owner/m", "Adding `safetensors` variant", "SFconvertbot", {"m.safetensors": b"y"})
    found = list(HfApi().get_repo_discussions("owner/m", author="SFconvertbot", discussion_type="pull_request"))
    assert [f"refs/pr/{request.num}" for request in found] == [revision]
    assert (Path(snapshot_download("owner/m", revision=revision)) / "m.safetensors").read_bytes() == b"y"
    assert not list(HfApi().get_repo_discussions("owner/m", author="nobody"))


def test_hub_errors(hub: HubServer) -> None:
    hub.add("owner/m", {"config.json": b"{}"})
    hub.add("owner/closed", {"config.json": b"{}"}, gated=True)
    api = HfApi()
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("owner/none")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("owner/m", revision="v9")
    with pytest.raises(HfHubHTTPError, match="403"):
        api.upload_file(repo_id="owner/m", path_in_repo="a.txt", path_or_fileobj=b"a")
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        HfApi(token="hf_" + "b" * 34).whoami()
    with pytest.raises(GatedRepoError):
        HfApi(token=False).hf_hub_download("owner/closed", "config.json")
    hub.read_only.add(TOKEN)
    with pytest.raises(HfHubHTTPError, match="403"):
        api.create_repo(f"{USER}/new")
    hub.broken["GET .*/whoami-v2"] = 500
    with pytest.raises(HfHubHTTPError, match="500"):
        api.whoami()
