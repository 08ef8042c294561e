"""The command line: exit codes, one sentence for what is wrong, one JSON object for what was made."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from heads import one_sentence, write_sound

from pipeline.cli import main
from pipeline.coefficients import Coefficients
from pipeline.video import VideoReader

OPTIONS = ("--size", "128")


@pytest.fixture(scope="module")
def portrait(repository: Path) -> str:
    return str(repository / "examples" / "portraits" / "man_beard.jpg")


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> str:
    return str(write_sound(tmp_path_factory.mktemp("cli") / "tone.wav", 0.2 * np.sin(np.arange(8000) / 5)))


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "pipeline", *map(str, words)]


def test_talk_writes_a_clip_and_says_so_in_json(portrait, sound, debug_weights, tmp_path, capsys):
    out, file = tmp_path / "out.mp4", tmp_path / "out.safetensors"
    words = ["talk", portrait, sound, "-o", out, "--weights", debug_weights, "--coefficients", file, "--json", *OPTIONS]
    assert main([*map(str, words), "--seed", "4", "--motion-scale", "0.5"]) == 0
    told = capsys.readouterr()
    result = json.loads(told.out)
    assert told.out.count("\n") == 1 and told.err == ""
    assert result["output"] == str(out) and result["frames"] == 13 and result["size"] == [128, 128]
    assert result["settings"]["seed"] == 4 and result["settings"]["motion_scale"] == 0.5 and result["warnings"] == []
    assert sorted(os.listdir(tmp_path)) == ["out.mp4", "out.safetensors"]
    assert VideoReader(out).size == (128, 128)
    assert len(Coefficients.load(file)) == 13


def test_coefficients_are_the_same_whoever_asks(portrait, sound, debug_weights, debug_pipe, tmp_path, capsys):
    file = tmp_path / "out.safetensors"
    words = ["talk", portrait, sound, "-o", tmp_path / "a.mp4", "--weights", debug_weights, "--coefficients", file]
    assert main([*map(str, words), *OPTIONS]) == 0
    assert "13 frames in" in capsys.readouterr().out
    made = debug_pipe.talk(portrait, sound, size=128).coefficients
    assert Coefficients.load(file).expression.tobytes() == made.expression.tobytes()


def test_reenact_and_verify(portrait, sound, debug_weights, tmp_path, capsys):
    """A clip that was made drives another, and both carry the mark."""
    first, second = str(tmp_path / "first.mp4"), str(tmp_path / "second.mp4")
    common = ["--weights", str(debug_weights), *OPTIONS]
    assert main(["talk", portrait, sound, "-o", first, *common]) == 0
    assert main(["reenact", portrait, first, "-o", second, "--absolute", "--json", *common]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["frames"] == 13 and result["settings"]["mode"] == "reenact" and not result["settings"]["relative"]
    for clip, mode in ((first, "talk"), (second, "reenact")):
        assert main(["verify", clip, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["marked"] and told["mark"]["settings"]["mode"] == mode
    assert main(["verify", first]) == 0
    assert "AI-generated" in capsys.readouterr().out
    assert main(["verify", sound]) == 0
    assert "carries no mark" in capsys.readouterr().out


def test_listen_alone_and_beside_the_speaker(portrait, sound, debug_weights, tmp_path, capsys):
    """The speaker is a clip that was made; its own sound is heard unless another is given."""
    common = ["--weights", str(debug_weights), *OPTIONS]
    speaker, alone, both = (str(tmp_path / name) for name in ("speaker.mp4", "alone.mp4", "both.mp4"))
    assert main(["talk", portrait, sound, "-o", speaker, *common]) == 0
    text = tmp_path / "said.txt"
    text.write_text("A tone, and nothing else.")
    words = ["--attitude", "negative", "--attitude-scale", "1.5", "--seed", "3", "--json", *common]
    assert main(["listen", portrait, sound, "-o", alone, "--transcript", str(text), *words]) == 0
    told = capsys.readouterr()
    result = json.loads(told.out.splitlines()[-1])
    assert result["frames"] == 13 and result["size"] == [128, 128]
    assert [result["settings"][name] for name in ("mode", "attitude", "attitude_scale", "seed", "layout")] == [
        "listen", "negative", 1.5, 3, "listener",
    ]  # fmt: skip
    assert "note: No speech is heard" in told.err and "note: The transcript was not used" in told.err
    assert main(["listen", portrait, "--speaker-video", speaker, "--layout", "side-by-side", "-o", both, *words]) == 0
    assert json.loads(capsys.readouterr().out)["size"] == [258, 128]
    reader = VideoReader(both)
    assert reader.size == (258, 128) and reader.has_sound
    assert main(["verify", both, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mark"]["settings"]["attitude"] == "negative"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--attitude", "angry"], "There is no attitude 'angry'; choose one of: positive, neutral, negative."),
        (["--layout", "above"], "There is no layout 'above'; choose one of: listener, side-by-side."),
        (["--layout", "side-by-side"], "There is no video of the speaker to show"),
        (["--attitude-scale", "3"], "attitude_scale must be between 0 and 2"),
        (["--speaker-video", "missing.mp4"], "There is no file missing.mp4"),
        (["--transcript", "missing.txt"], "missing.txt cannot be read as text"),
    ],
)
def test_what_is_wrong_with_listen_is_one_sentence(portrait, sound, debug_weights, tmp_path, capsys, words, said):
    out = ["-o", str(tmp_path / "out.mp4"), "--weights", str(debug_weights), "--size", "128"]
    assert main(["listen", portrait, sound, *out, *words]) == 2
    told = capsys.readouterr()
    assert told.out == "" and said in told.err and told.err.startswith("error: ") and told.err.count("\n") == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"portrait": "missing.jpg"}, "missing.jpg"),
        ({"portrait": __file__}, "test_cli.py"),
        ({"sound": "missing.wav"}, "no file missing.wav"),
        ({"sound": __file__}, "cannot be read as sound"),
        ({"-o": "missing/out.mp4"}, "no folder"),
        ({"-o": "out.avi"}, "must end in .mp4"),
        ({"--size": "20"}, "size must be between"),
        ({"--seed": "-1"}, "seed must be between"),
        ({"--expression-scale": "3"}, "expression_scale must be between"),
        ({"--motion-scale": "nan"}, "motion_scale must be between"),
        ({"--coefficients": "missing/c.safetensors"}, "missing/c.safetensors cannot be written"),
        ({"--weights": "no-such-folder/anywhere/at-all"}, "weights"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_what_is_wrong_is_one_sentence_and_exit_code_2(
    portrait, sound, debug_weights, tmp_path, monkeypatch, capsys, change, said
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    given = {"portrait": portrait, "sound": sound, "-o": "out.mp4", "--weights": str(debug_weights), "--size": "128"}
    given |= change
    words = ["talk", given.pop("portrait"), given.pop("sound"), *(f"{name}={value}" for name, value in given.items())]
    assert main([word.replace("-o=", "-o") for word in words]) == 2
    told = capsys.readouterr()
    assert told.out == "" and said in told.err
    assert told.err.startswith("error: ") and one_sentence(told.err.removeprefix("error: ").rstrip("\n"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("words", [[], ["sing"], ["talk"], ["talk", "a", "b"], ["talk", "a", "b", "-o", "c", "--x"]])
def test_misuse_is_exit_code_2(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2 and "usage:" in capsys.readouterr().err


def test_verify_of_what_is_no_file(tmp_path, capsys):
    assert main(["verify", str(tmp_path / "missing.mp4")]) == 2
    assert one_sentence(capsys.readouterr().err.removeprefix("error: ").rstrip("\n"))


def test_an_interrupt_is_130_and_leaves_nothing(portrait, debug_weights, tmp_path, repository):
    """Ctrl-C in the middle of a long clip, in a process of its own."""
    folder = tmp_path / "out"
    folder.mkdir()
    sound = write_sound(tmp_path / "long.wav", 0.2 * np.sin(np.arange(240 * 16000) / 5))
    running = subprocess.Popen(
        command("talk", portrait, sound, "-o", folder / "out.mp4", "--weights", debug_weights, "--size", "512"),
        cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until = time.monotonic() + 120
        while not any(folder.iterdir()):
            assert running.poll() is None, running.communicate()
            assert time.monotonic() < until, "nothing was written in two minutes"
            time.sleep(0.05)
        time.sleep(0.3)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 130
    assert out == "" and err == "interrupted\n"
    assert os.listdir(folder) == []


def test_a_process_of_its_own_says_one_sentence_and_no_more(sound, tmp_path, repository):
    """Libraries write to the error stream past Python: nothing of that may reach the user."""
    picture = tmp_path / "grey.png"
    import cv2

    cv2.imwrite(str(picture), np.full((200, 200, 3), 128, np.uint8))
    done = subprocess.run(
        command("talk", picture, sound, "-o", tmp_path / "out.mp4"), cwd=repository, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: No face") and done.stderr.count("\n") == 1
    assert not (tmp_path / "out.mp4").exists()
