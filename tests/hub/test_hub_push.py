"""Weights that are saved and pushed: whole or one component, with cards, and they come back the same."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path

import pytest
from hub_answers import refusal

from pipeline.hub import EMBEDDED, find_weights
from pipeline.hub_cards import SECTIONS, Card, write_cards

INDEX = json.loads((EMBEDDED / "model_index.json").read_text())


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


def test_one_component_is_pushed_from_the_command_line_and_a_variant_of_it_too(hub, ask):
    """What listens live is `audio_encoder/causal`: found again where drivers look, and not taken for the other."""
    codes = ask("""
from pipeline.cli import main
from pipeline.drivers.audio_encoder import AudioEncoder
for name in ("audio_encoder/causal", "audio_encoder/nothing", "os"):
    said.append(main(["push", "me/ears", "--component", name]))
whole = AudioEncoder.from_pretrained(subfolder="audio_encoder/causal")
found = [
    AudioEncoder.from_pretrained("me/ears"),
    AudioEncoder.from_pretrained("me/ears", subfolder="audio_encoder/causal"),
]
for one in found:
    same = zip(one.state_dict().values(), whole.state_dict().values(), strict=True)
    said.append(one.config.causal and all(bool((a == b).all()) for a, b in same))
""", HF_TOKEN="hf_local")  # fmt: skip
    assert codes == [0, 2, 2, True, True]
    files = hub.repositories["me/ears"].files("main")
    folder = "audio_encoder/causal"
    assert {f"{folder}/{name}" for name in ("README.md", "config.json", "model.safetensors")} <= set(files)
    assert "audio_encoder/config.json" not in files
    own = Card.parse((EMBEDDED / "audio_encoder/README.md").read_text())
    card = Card.parse(files["README.md"].decode())
    assert card.title == own.title and card.sections["Data"] == own.sections["Data"]
    assert 'AudioEncoder.from_pretrained("me/ears", subfolder="audio_encoder/causal")' in card.sections["Use"]
    compile(card.sections["Use"].strip("`").removeprefix("python"), "card", "exec")


def test_weights_with_the_causal_encoder_alone_take_the_full_one_from_the_embedded(tmp_path):
    from pipeline.drivers.audio_encoder import AudioEncoder
    from pipeline.drivers.listening import ListeningDriver

    AudioEncoder.from_pretrained(subfolder="audio_encoder/causal").save_pretrained(tmp_path)
    shutil.copytree(EMBEDDED / "listening", tmp_path / "listening")
    driver = ListeningDriver.load(tmp_path / "listening")
    assert not driver.encoder.config.causal and driver.causal.encoder.config.causal


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


# --- saved in a folder ---------------------------------------------------------------------------------------------


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
