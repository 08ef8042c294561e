"""Where weights come from: a folder, the Hub (a small server stands for it), or the embedded ones."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from heads import one_sentence
from hub_server import Hub

from pipeline.errors import WeightsError
from pipeline.hub import EMBEDDED, Weights, find_weights
from pipeline.hub_cards import SECTIONS, Card, write_cards

INDEX = json.loads((EMBEDDED / "model_index.json").read_text())


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


# --- the Hub: its own client, against a small server ----------------------------------------------------------------

PRELUDE = """
import json, os, sys
from pathlib import Path
from pipeline.errors import InputError
from pipeline.hub import find_component, find_weights
said = []
def attempt(function, *arguments, **options):
    try:
        found = function(*arguments, **options)
    except InputError as error:
        found = f"refused: {error}"
    said.append(str(getattr(found, "folder", found)))
"""


@pytest.fixture
def hub(debug_weights):
    with Hub() as server:
        server.add("someone/heads", debug_weights)
        yield server


@pytest.fixture
def ask(hub, tmp_path, repository):
    """Runs lines in a process of its own, since the client reads its settings once; returns what they `attempt`ed."""
    home = tmp_path / "home"

    def run(code: str, endpoint: str = hub.endpoint, **settings: str) -> list[str]:
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        kept = {name: value for name, value in kept.items() if not name.startswith(("HF_", "HUGGING"))}
        # Xet is a protocol of its own between hf_xet and its storage; without it the client speaks plain HTTP.
        always = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
        always |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", f"{PRELUDE}\n{code}\nprint(json.dumps(said))"], cwd=repository, text=True,
            env=kept | always | settings, capture_output=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def refusal(text: str) -> str:
    """The sentence of a refusal, which must be one."""
    assert text.startswith("refused: "), text
    assert one_sentence(text.removeprefix("refused: ")), text
    return text.removeprefix("refused: ")


def same_files(folder: Path, source: Path) -> bool:
    names = [path.relative_to(source) for path in source.rglob("*") if path.is_file()]
    return bool(names) and all((folder / name).read_bytes() == (source / name).read_bytes() for name in names)


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
        f"{part}/{name}" for part in ("talking", "liveliness") for name in ("config.json", "model.safetensors")
    }
    assert fetched - {"liveliness/README.md"} == wanted
    driver, same = TalkingDriver.load(component), TalkingDriver.load(debug_weights / "talking")
    weights, others = (one.members[0].state_dict() for one in (driver, same))
    assert weights and all((weights[name] == others[name]).all() for name in weights)


def test_pushed_weights_come_back_the_same(hub, ask, debug_weights, tmp_path):
    (url, back, again) = ask(f"""
from pipeline.conversation import ConversationalHeadPipeline
pipe = ConversationalHeadPipeline.from_pretrained({str(debug_weights)!r})
attempt(pipe.push_to_hub, "me/heads", private=True, commit_message="First weights")
attempt(find_weights, "me/heads")
attempt(pipe.push_to_hub, "me/heads", commit_message="The same")
""", HF_TOKEN="hf_local")  # fmt: skip
    pushed = hub.repositories["me/heads"]
    assert pushed.private and pushed.messages == ["initial", "First weights"], "an unchanged push makes no commit"
    assert url.endswith(pushed.refs["main"]) and again == url
    folder = Path(back)
    for name in ("talking", "patches", "mesh"):
        assert all(
            (folder / name / path.relative_to(debug_weights / name)).read_bytes() == path.read_bytes()
            for path in (debug_weights / name).rglob("*.safetensors")
        )
    assert (folder / "face/model.safetensors").read_bytes() == (EMBEDDED / "face/model.safetensors").read_bytes()
    assert set(json.loads((folder / "model_index.json").read_text())) >= {"talking", "patches", "mesh", "face"}
    for card in [folder / "README.md", *(folder / name / "README.md" for name in ("talking", "face", "mesh"))]:
        assert set(SECTIONS) <= set(Card.read(card).sections), card
    whole = Card.read(folder / "README.md")
    assert whole.facts["library_name"] == "tete-a-tete" and 'from_pretrained("me/heads")' in whole.sections["Use"]
    assert "| [talking](talking/README.md) | TalkingDriver |" in whole.sections["Components"]
    # Nobody gave a card for these weights, so none of ours may speak for them; those taken from ours keep theirs.
    assert "did not say" in whole.sections["Licence"]
    assert "non-commercial" in Card.read(folder / "face/README.md").sections["Licence"]


def test_a_component_is_pushed_with_what_it_needs_and_its_card(hub, ask, tmp_path):
    (url, request, branch, refused, unnamed, missing) = ask("""
from pipeline.face.morphable import MorphableModel
from pipeline.drivers.liveliness import Liveliness
model = MorphableModel.from_pretrained()
attempt(model.push_to_hub, "me/face")
attempt(Liveliness.from_pretrained().push_to_hub, "me/face", create_pr=True)
attempt(model.push_to_hub, "me/face", revision="next")
back = MorphableModel.from_pretrained("me/face", revision="next")
assert (back.mean == model.mean).all() and back.actions == model.actions
attempt(model.push_to_hub, "me/face", token="hf_wrong")
attempt(model.push_to_hub, "not a name")
attempt(model.push_to_hub, "me/face", revision="next", create_pr=True)
""", HF_TOKEN="hf_local")  # fmt: skip
    repository = hub.repositories["me/face"]
    assert [reference.rsplit("/", 1)[1] for reference in (url, branch)] == [
        repository.refs["main"],
        repository.refs["next"],
    ]
    assert request.endswith("/me/face/discussions/1")
    files = repository.files("main")
    assert {"README.md", "model_index.json", "face/README.md", "face/model.safetensors"} <= set(files)
    own = Card.parse((EMBEDDED / "face/README.md").read_text())
    card = Card.parse(files["README.md"].decode())
    assert card.title == own.title and card.sections["Licence"] == own.sections["Licence"]
    assert set(SECTIONS) <= set(card.sections) and card.facts["pipeline_tag"] == "image-to-video"
    assert "you may not write there" in refusal(refused)
    assert "no repository's name" in refusal(unnamed)
    assert "cannot be pushed" in refusal(missing)


def test_weights_are_pushed_from_the_command_line(hub, ask, debug_weights):
    codes = ask(f"""
from pipeline.cli import main
for name in ("me/heads", "not a name"):
    said.append(main(["push", name, "--weights", {str(debug_weights)!r}, "--revision", "next", "--private"]))
""", HF_TOKEN="hf_local")  # fmt: skip
    assert codes == [0, 2]
    repository = hub.repositories["me/heads"]
    assert repository.private and "talking/model.safetensors" in repository.files("next")
    assert set(repository.files("main")) == {".gitattributes"}


def test_pushing_offline_and_to_nobody(ask):
    code = """
from pipeline.hub_share import push_folder
from pipeline.hub import EMBEDDED
attempt(push_folder, EMBEDDED, "me/heads")
attempt(push_folder, EMBEDDED.parent / "tests", "me/heads")
"""
    offline, no_index = ask(code, HF_HUB_OFFLINE="1", HF_TOKEN="hf_local")
    assert "switched off by HF_HUB_OFFLINE" in refusal(offline)
    assert "no readable model_index.json" in refusal(no_index)
    nobody, _ = ask(code, endpoint="http://127.0.0.1:9", HF_TOKEN="hf_local")
    assert "check the network" in refusal(nobody)


# --- cards ----------------------------------------------------------------------------------------------------------


def test_a_card_is_taken_apart_and_put_together():
    text = "---\nlicense: mit\ntags:\n- a\n---\n\n# Title\n\nIntro.\n\n## Data\n\nPeople.\n\n## Licence\n\nAny.\n"
    card = Card.parse(text)
    assert (card.title, card.intro, card.sections) == ("Title", "Intro.", {"Data": "People.", "Licence": "Any."})
    assert card.facts == {"license": "mit", "tags": ["a"]}
    assert Card.parse(card.text()) == card
    whole = card.completed(Card("", sections={"Limits": "Few.", "Data": "Others'."}))
    assert whole.sections == {"Data": "People.", "Licence": "Any.", "Limits": "Few."}


def test_weights_without_cards_do_not_claim_a_licence(tmp_path, debug_weights):
    shutil.copytree(debug_weights, tmp_path / "weights")
    write_cards(tmp_path / "weights")
    for path in (tmp_path / "weights/README.md", tmp_path / "weights/talking/README.md"):
        card = Card.read(path)
        assert set(SECTIONS) <= set(card.sections)
        assert "did not say who may use them" in card.sections["Licence"]
        assert "did not say what they were learned from" in card.sections["Data"]
    before = (tmp_path / "weights/README.md").read_text()
    write_cards(tmp_path / "weights")
    assert (tmp_path / "weights/README.md").read_text() == before, "cards should not grow when written again"


def test_embedded_cards_say_all_that_a_card_must():
    assert set(SECTIONS) <= set(Card.read(EMBEDDED / "README.md").sections)


def test_a_git_lfs_pointer_is_called_what_it_is(tmp_path, debug_weights):
    shutil.copytree(debug_weights, tmp_path / "weights")
    (tmp_path / "weights/talking/model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0"
    )
    with pytest.raises(WeightsError, match="git lfs pull") as error:
        find_weights(tmp_path / "weights")
    assert one_sentence(error.value)


@pytest.mark.parametrize("kind", sorted(name for name in INDEX if not name.startswith("_")))
def test_each_component_is_found_saved_and_loaded_alone(kind, tmp_path):
    module, name = INDEX[kind]
    component = getattr(importlib.import_module(module), name)
    loaded = component.from_pretrained()
    loaded.save_pretrained(tmp_path)
    again = component.from_pretrained(tmp_path)
    inside = component.from_pretrained(tmp_path, subfolder=kind)
    direct = component.from_pretrained(tmp_path / kind)
    for one in (again, inside, direct):
        assert type(one) is type(loaded)
    own, other = EMBEDDED / kind, tmp_path / kind
    saved = [path.relative_to(other) for path in other.rglob("*") if path.suffix in (".safetensors", ".json")]
    assert saved
    for path in saved:
        assert (other / path).stat().st_size == pytest.approx((own / path).stat().st_size, rel=0.05)
    assert Card.read(tmp_path / kind / "README.md").title == Card.read(own / "README.md").title
    assert find_weights(tmp_path).component(kind) == tmp_path / kind


def test_embedded_weights_are_saved_whole_with_their_cards(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    for path in (path for name in pipe.weights.components for path in (EMBEDDED / name).rglob("*.safetensors")):
        assert (tmp_path / path.relative_to(EMBEDDED)).read_bytes() == path.read_bytes()
    whole = Card.read(tmp_path / "README.md")
    assert whole.facts["license_name"] == "research-and-non-commercial"
    for path in tmp_path.rglob("README.md"):
        sections = Card.read(path).sections
        assert set(SECTIONS) <= set(sections) and "non-commercial" in sections["Licence"], path
        assert "did not say" not in " ".join(sections.values()), path
