"""The page over the real pipeline: what a newcomer does first, and what they do wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from playwright.sync_api import Page, expect

from pipeline.clock import FPS

Files = dict[str, Path]
SECONDS = 1.6


@pytest.fixture(scope="module")
def real() -> Iterator[tuple[str, object]]:
    """The page's address and its studio, with the models warmed as `python app.py` does."""
    import app

    page, studio = app.build_app(app.load_pipeline)
    warmed = studio.warm()
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **app.launch_options(studio))
    warmed.result()
    yield url, studio
    page.close(verbose=False)
    studio.close()


@pytest.fixture(scope="module")
def inputs(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A small portrait with someone in it, one without, a short and a long piece of speech, and an empty one."""
    folder = tmp_path_factory.mktemp("real")
    made = {name: folder / f"{name}.png" for name in ("portrait", "landscape")}
    Image.open(repository / "examples/portraits/astronaut.png").convert("RGB").resize((320, 320)).save(made["portrait"])
    hills = np.linspace(90, 200, 320 * 320).reshape(320, 320).astype(np.uint8)
    Image.fromarray(hills).convert("RGB").save(made["landscape"])
    speech, rate = soundfile.read(repository / "examples/speech/hello_slt.wav")
    for name, samples in {
        "speech": speech[: round(SECONDS * rate)],
        "long": np.tile(speech, 60),
        "empty": speech[:0],
    }.items():
        made[name] = folder / f"{name}.wav"
        soundfile.write(made[name], samples, rate)
    return made


@pytest.fixture
def client(real: tuple[str, object], tmp_path: Path) -> Client:
    return Client(real[0], verbose=False, download_files=str(tmp_path))


def decoded(path: str | Path) -> tuple[np.ndarray, float]:
    """All frames (T, H, W, 3) and the seconds of sound of a clip."""
    with av.open(str(path)) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    with av.open(str(path)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
        return frames, samples / container.streams.audio[0].rate


def assert_head_moves_on_a_still_ground(frames: np.ndarray) -> None:
    change = np.abs(frames.astype(np.int16) - frames[0]).max(axis=(0, 3))
    face, corner = change[40:140, 110:190], change[:40, :40]
    assert np.percentile(face, 90) > 25, "the face hardly moves"
    assert corner.mean() < 6, "the background moves"


def fill(page: Page, portrait: Path, voice: Path) -> None:
    page.set_input_files("#portrait input[type=file]", portrait)
    page.wait_for_selector("#portrait img")
    page.set_input_files("#voice input[type=file]", voice)
    page.wait_for_selector("#voice .waveform-container, #voice #waveform")
    page.check("#consent-talk input")


def test_from_upload_to_a_portrait_that_speaks(
    real: tuple[str, object], visit: Callable[..., Page], inputs: Files, artefacts: Path, tmp_path: Path
) -> None:
    page = visit(real[0])
    fill(page, inputs["portrait"], inputs["speech"])
    page.click("#make-talk")
    page.wait_for_selector("#clip video", timeout=60_000)
    page.wait_for_function("document.querySelector('#clip video').currentTime > 0.5")
    page.screenshot(path=artefacts / "real-talk.png", full_page=True)
    assert page.evaluate("document.querySelector('#clip video').webkitAudioDecodedByteCount") > 0
    with page.expect_download() as download:
        page.click("#download")
    download.value.save_as(tmp_path / "clip.mp4")
    frames, sound = decoded(tmp_path / "clip.mp4")
    assert frames.shape == (round(SECONDS * FPS), 320, 320, 3)
    assert sound == pytest.approx(SECONDS, abs=0.1)
    assert_head_moves_on_a_still_ground(frames)


def test_a_portrait_follows_the_clip_of_another(client: Client, inputs: Files, repository: Path) -> None:
    driving = client.predict(
        portrait=handle_file(repository / "examples/portraits/man_smiling.jpg"),
        audio=handle_file(inputs["speech"]),
        size=256,
        consent=True,
        api_name="/talk",
    )
    result = client.predict(
        portrait=handle_file(inputs["portrait"]), video=handle_file(driving), consent=True, api_name="/reenact"
    )
    frames, sound = decoded(result)
    assert frames.shape == (round(SECONDS * FPS), 320, 320, 3)
    assert sound == pytest.approx(SECONDS, abs=0.1)
    assert_head_moves_on_a_still_ground(frames)


def test_a_portrait_listens_beside_the_speaker(client: Client, inputs: Files, repository: Path) -> None:
    speaker = repository / "examples/driving/man_pausing.mp4"
    result = client.predict(
        portrait=handle_file(inputs["portrait"]),
        audio=handle_file(inputs["speech"]),
        attitude="positive",
        speaker_video=handle_file(speaker),
        layout="side-by-side",
        consent=True,
        api_name="/listen",
    )
    frames, sound = decoded(result)
    assert frames.shape == (round(SECONDS * FPS), 320, 644, 3)
    assert sound == pytest.approx(SECONDS, abs=0.1)
    assert_head_moves_on_a_still_ground(frames[:, :, 324:])
    with av.open(str(speaker)) as container:
        shown = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.abs(frames[0, :, :320].astype(int) - shown).mean() < 4


def test_an_attitude_that_there_is_not_is_said_in_a_sentence(client: Client, inputs: Files) -> None:
    with pytest.raises(AppError, match="There is no attitude 'angry'; choose one of: positive, neutral, negative"):
        client.predict(
            portrait=handle_file(inputs["portrait"]),
            audio=handle_file(inputs["speech"]),
            attitude="angry",
            consent=True,
            api_name="/listen",
        )


def test_gfpgan_without_its_weights_says_how_to_get_them(
    client: Client, real: tuple[str, object], visit: Callable[..., Page], inputs: Files, artefacts: Path
) -> None:
    """Over HTTP, and on the page, which offers it."""
    with pytest.raises(AppError, match=r"GFPGAN's weights are not here: download .* convert gfpgan"):
        client.predict(
            portrait=handle_file(inputs["portrait"]),
            audio=handle_file(inputs["speech"]),
            restore="gfpgan",
            consent=True,
            api_name="/talk",
        )
    page = visit(real[0])
    fill(page, inputs["portrait"], inputs["speech"])
    page.locator(".options").first.get_by_role("button").first.click()
    page.get_by_label("GFPGAN").first.check()
    page.click("#make-talk")
    expect(page.locator(".card", has_text="GFPGAN's weights are not here")).to_be_visible(timeout=60_000)
    page.screenshot(path=artefacts / "real-gfpgan.png", full_page=True)


@pytest.mark.parametrize(
    ("portrait", "voice", "word"), [("landscape", "speech", "face"), ("portrait", "empty", "empty")]
)
def test_what_the_pipeline_refuses_is_said_in_its_sentence(
    client: Client, inputs: Files, portrait: str, voice: str, word: str
) -> None:
    with pytest.raises(AppError) as refusal:
        client.predict(
            portrait=handle_file(inputs[portrait]), audio=handle_file(inputs[voice]), consent=True, api_name="/talk"
        )
    sentence = str(refusal.value)
    assert word in sentence
    assert "on our side" not in sentence
    assert "Traceback" not in sentence


def test_stop_frees_the_worker_long_before_the_clip_would_be_done(
    real: tuple[str, object], visit: Callable[..., Page], inputs: Files, artefacts: Path
) -> None:
    url, studio = real
    page = visit(url)
    fill(page, inputs["portrait"], inputs["long"])
    page.click("#make-talk")
    expect(page.locator(".card.working .left")).to_contain_text("left", timeout=60_000)
    page.screenshot(path=artefacts / "real-working.png", full_page=True)
    page.click("#stop-talk")
    # The sound is minutes long: a worker that went on to its end would not be free by then.
    studio._pool.submit(lambda: None).result(timeout=15)
    expect(page.locator("#stage .card")).to_contain_text("Stopped")
    assert not list(studio._folder.iterdir()), "a stopped job left files"
