"""Where weights come from: a folder, the Hub (a small server stands for it), or the embedded ones."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from heads import one_sentence
from hub_answers import refusal, same_files
from hub_server import Hub

from pipeline.errors import WeightsError
from pipeline.hub import EMBEDDED, Weights, find_weights


def test_the_embedded_weights_are_found_and_whole():
    weights = find_weights()
    assert weights.folder == EMBEDDED
    assert set(weights.components) >= {"face", "talking", "liveliness", "mesh", "patches"}
    for name in weights.components:
        assert any(weights.component(name).rglob("*.json")), name


def test_a_folder_is_used_and_what_it_lacks_is_embedded(debug_weights):
    weights = find_weights(debug_weights)
    assert set(weights.components) >= {"talking", "patches", "mesh"}
    assert weights.component("patches") == debug_weights / "patches"
    assert weights.component("face") == EMBEDDED / "face"
    with pytest.raises(WeightsError, match="no weights for 'singing'") as error:
        weights.component("singing")
    assert one_sentence(error.value)


@pytest.mark.parametrize("index", [None, "", "[1, 2]", "3"])
def test_a_folder_without_a_readable_index(tmp_path: Path, index: str | None):
    if index is not None:
        (tmp_path / "model_index.json").write_text(index)
    with pytest.raises(WeightsError, match=r"holds no readable model_index\.json") as error:
        find_weights(tmp_path)
    assert one_sentence(error.value)


@pytest.mark.parametrize("name", ["no/such/folder", "what is this?", "a" * 100, "owner/../etc"])
def test_what_is_neither_folder_nor_repository(monkeypatch, name):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match="neither a folder nor") as error:
        find_weights(name)
    assert one_sentence(error.value)


def test_damaged_components_are_one_sentence(tmp_path, debug_weights, portraits, voice):
    from pipeline.conversation import ConversationalHeadPipeline

    (tmp_path / "model_index.json").write_text("{}")
    for kind in ("talking", "face", "mesh", "patches"):
        folder = tmp_path / kind
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        pipe = ConversationalHeadPipeline(Weights(tmp_path, ()))
        with pytest.raises(WeightsError, match="install the weights again") as error:
            if kind == "face":
                pipe.portrait(portraits["statue"].image)
            else:
                next(pipe.talk(portraits["statue"], voice).frames)
        assert one_sentence(error.value)
        (folder / "config.json").unlink()
        folder.rmdir()


def test_a_git_lfs_pointer_is_called_what_it_is(tmp_path, debug_weights):
    shutil.copytree(debug_weights, tmp_path / "weights")
    (tmp_path / "weights/talking/model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0"
    )
    with pytest.raises(WeightsError, match="git lfs pull") as error:
        find_weights(tmp_path / "weights")
    assert one_sentence(error.value)


# --- the Hub: its own client, against a small server ----------------------------------------------------------------

FIND = "attempt(find_weights, 'someone/heads')"


def test_a_repository_is_fetched_once_and_then_kept(hub, ask, debug_weights, tmp_path):
    files = hub.repositories["someone/heads"].commits.popitem()[1]
    newest = hub.repositories["someone/heads"].commit(files | {"train.py": b"print('never')", "old.bin": b"\x80pickle"})
    (first,) = ask(FIND)
    folder = Path(first)
    assert folder.name == newest and tmp_path in folder.parents, "not in the client's own cache"
    assert same_files(folder, debug_weights)
    assert not {"train.py", "old.bin"} & {path.name for path in folder.rglob("*")}, "code or pickles were fetched"
    storage = [line for line in hub.asked if line.startswith("GET /storage")]
    assert len(storage) == len(set(storage)) == len(list(debug_weights.rglob("*.safetensors"))), "each large file once"
    again = ask(f"{FIND}\nattempt(find_weights, 'someone/heads', local_files_only=True)")
    assert again == [first, first]
    assert [line for line in hub.asked if line.startswith("GET /storage")] == storage, "fetched again"
    # Nobody answers, or the network is switched off: what is in the cache serves on.
    assert ask(FIND, endpoint="http://127.0.0.1:9") == [first]
    before = len(hub.asked)
    assert ask(FIND, HF_HUB_OFFLINE="1") == [first]
    assert len(hub.asked) == before, "asked although offline"


def test_offline_without_a_copy(hub, ask, tmp_path):
    code = (
        f"{FIND}\nattempt(find_weights, 'someone/heads', cache_dir={str(tmp_path / 'other')!r})\nattempt(find_weights)"
    )
    *refused, embedded = ask(code, HF_HUB_OFFLINE="1")
    assert all("not whole in the cache" in refusal(text) for text in refused)
    assert embedded == str(EMBEDDED) and not hub.asked
    (refused,) = ask("attempt(find_weights, 'someone/heads', local_files_only=True)")
    assert "not whole in the cache" in refusal(refused) and not hub.asked


def test_revisions_and_another_cache(hub, ask, debug_weights, tmp_path):
    repository = hub.repositories["someone/heads"]
    old = repository.refs["main"]
    repository.refs["v1"] = old
    changed = repository.commits[old] | {"mesh/README.md": b"# Changed\n"}
    new = repository.commit(changed)
    other = tmp_path / "other"
    found = ask(f"""
for revision in (None, "v1", {old!r}, "v9"):
    attempt(find_weights, "someone/heads", revision, cache_dir={str(other)!r})
attempt(find_weights, "someone/heads@v1", cache_dir={str(other)!r})
""")
    assert [Path(text).name for text in (*found[:3], found[4])] == [new, old, old, old]
    assert all(other in Path(text).parents for text in found[:3])
    assert "have no revision 'v9'" in refusal(found[3])
    assert (Path(found[0]) / "mesh/README.md").read_bytes() == b"# Changed\n"
    assert not (Path(found[1]) / "mesh/README.md").exists()


def test_who_may_not_see_a_repository(hub, ask):
    hub.repositories["someone/heads"].private = True
    hub.add("someone/gated", EMBEDDED / "mesh").gated = True
    hub.renamed["someone/old"] = "someone/heads"
    found = ask("""
attempt(find_weights, "someone/heads")
attempt(find_weights, "someone/heads", token="hf_wrong")
attempt(find_weights, "someone/gated")
attempt(find_weights, "someone/else")
attempt(find_weights, "someone/heads", token="hf_local")
attempt(find_weights, "someone/old", token="hf_local")
""")
    for text in (*found[:2], found[3]):
        assert "are not on the Hub or are private" in refusal(text)
    assert "have terms to be accepted" in refusal(found[2])
    assert Path(found[4]).name == Path(found[5]).name == hub.repositories["someone/heads"].refs["main"]
    (by_setting,) = ask(FIND, HF_TOKEN="hf_local")
    assert by_setting == found[4]


def test_a_cache_that_cannot_be_written(ask, tmp_path):
    (tmp_path / "file").write_text("no folder")
    (refused,) = ask(f"attempt(find_weights, 'someone/heads', cache_dir={str(tmp_path / 'file')!r})")
    assert "cannot be kept in the cache" in refusal(refused)


def large(hub: Hub, name: str) -> str:
    files = hub.repositories["someone/heads"].files("main")
    return hashlib.sha256(files[name]).hexdigest()


def test_a_broken_connection_is_taken_up_where_it_broke(hub, ask, debug_weights):
    hub.break_after[large(hub, "talking/model.safetensors")] = 1000
    (found,) = ask(f"import huggingface_hub.constants\nhuggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = 512\n{FIND}")
    assert same_files(Path(found), debug_weights)
    assert hub.ranges == ["bytes=512-"], "whole chunks that had arrived should not be asked for again"


def test_damage_on_the_way_is_noticed_and_mended(hub, ask, debug_weights):
    oid = large(hub, "talking/model.safetensors")
    data = (debug_weights / "talking/model.safetensors").read_bytes()
    flipped = data[:500] + bytes([data[500] ^ 1]) + data[501:]
    hub.replaced[oid] = (flipped, 1)
    (found,) = ask(FIND)
    assert same_files(Path(found), debug_weights), "one damaged download should have been repeated"
    # Damage that came later, in the cache: with the network it is mended, without it is said.
    kept = (Path(found) / "talking/model.safetensors").resolve()
    kept.chmod(0o644)
    kept.write_bytes(flipped)
    assert ask(FIND) == [found] and kept.read_bytes() == data
    kept.write_bytes(flipped)
    (refused,) = ask(FIND, HF_HUB_OFFLINE="1")
    assert "not whole in the cache" in refusal(refused)


@pytest.mark.parametrize("kind", ["checksum", "truncated", "server"])
def test_downloads_that_stay_broken(hub, ask, kind, debug_weights):
    oid = large(hub, "patches/eye/model.safetensors")
    data = (debug_weights / "patches/eye/model.safetensors").read_bytes()
    if kind == "checksum":
        hub.replaced[oid] = (data[:-1] + bytes([data[-1] ^ 1]), 99)
    elif kind == "truncated":
        hub.replaced[oid] = (data[:-10], 99)
    else:
        hub.failing = 403
    refused, component, embedded = ask(f"""
{FIND}
attempt(find_component, "talking", "someone/heads")
attempt(find_weights)
""")
    wanted = "checksum of patches/eye/model.safetensors is wrong" if kind == "checksum" else "did not arrive whole"
    assert wanted in refusal(refused)
    if kind == "server":
        refusal(component)
    else:
        assert same_files(Path(component), debug_weights / "talking"), "a whole component should still be usable alone"
    assert embedded == str(EMBEDDED)
    # Nothing broken stays behind: when the Hub is well again, so are we.
    hub.replaced.clear()
    hub.failing = 0
    (found,) = ask(FIND)
    assert same_files(Path(found), debug_weights)


def test_a_repository_that_lacks_what_it_lists(hub, ask):
    repository = hub.repositories["someone/heads"]
    files = repository.files("main")
    whole = repository.refs["main"]
    repository.commit({name: data for name, data in files.items() if not name.startswith("patches/")})
    repository.commit({name: data for name, data in files.items() if name != "model_index.json"}, "bare")
    found = ask(f"""
attempt(find_weights, "someone/heads")
attempt(find_weights, "someone/heads", "bare")
attempt(find_component, "patches", "someone/heads")
attempt(find_component, "singing", "someone/heads", revision={whole!r})
attempt(find_weights)
""")
    assert "list 'patches'" in refusal(found[0])
    assert "no readable model_index.json" in refusal(found[1])
    assert "hold nothing in 'patches'" in refusal(found[2]) and "hold nothing in 'singing'" in refusal(found[3])
    assert found[4] == str(EMBEDDED)


def test_a_component_alone(hub, ask, debug_weights):
    """Only its own files and those it needs are fetched, and it is what it was."""
    from pipeline.drivers.talking import TalkingDriver

    hub.repositories["someone/heads"].commit(
        hub.repositories["someone/heads"].files("main")
        | {f"liveliness/{path.name}": path.read_bytes() for path in (EMBEDDED / "liveliness").iterdir()}
    )
    component, rings = ask("""
from pipeline.renderers.surroundings import Surroundings
attempt(find_component, "talking", "someone/heads", companions=("face", "liveliness"))
said.append(Surroundings.from_pretrained("someone/heads", subfolder="mesh", revision="main").radii.tolist())
""")
    assert rings == [0.2, 0.6, 1.2]
    fetched = {line.split("/resolve/")[1].split("/", 1)[1] for line in hub.asked if "/resolve/" in line}
    wanted = {"model_index.json", "mesh/surroundings.json"} | {
        f"{part}/{name}"
        for part in ("talking", "talking/member0", "liveliness")
        for name in ("config.json", "model.safetensors")
    }
    assert fetched - {"liveliness/README.md"} == wanted
    driver, same = TalkingDriver.load(component), TalkingDriver.load(debug_weights / "talking")
    weights, others = (one.members[0].state_dict() for one in (driver, same))
    assert weights and all((weights[name] == others[name]).all() for name in weights)
