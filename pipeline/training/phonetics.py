"""Train the phone recogniser on speech that free synthesisers made, whose phone times are known exactly.

    apt-get install flite && python -m pipeline train phonetics

flite's four voices (rms, slt, awb, kal16) speak random sentences of common and invented words; they are sped up
and slowed down (which moves pitch and formants, as other throats would), equalised, echoed and drowned in noise.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from pipeline.clock import SAMPLE_RATE, SAMPLES_PER_FRAME
from pipeline.drivers.level import normalised
from pipeline.drivers.phonetics import PAUSE, PHONES, STEPS_PER_FRAME, PhoneNet, log_mel, viseme_probabilities
from pipeline.errors import InputError
from pipeline.training.augmentation import augment, stretch

VOICES = ("rms", "slt", "awb", "kal16")
_STEP = SAMPLES_PER_FRAME // STEPS_PER_FRAME  # samples an answer covers
_ALIASES = {"ssil": PAUSE, "sil": PAUSE, "axr": "er", "ix": "ih", "ux": "uw", "el": "l", "em": "m", "en": "n"}
_WORDS = """
a about above across after again all almost along also always am among an and another any are around as ask at away
back bad be because become bed been before began behind being believe best better between beyond big bird black blue
boat body book both bought boy bring brother brought brown build business but buy by call came can car care carry
catch cause change chair cheap check child choice choose church city clean clear close cold colour come common could
country course cover cross cut dark day deep did different do dog door down draw dream drive drop during each early
earth easy eat edge eight either else end enough even evening ever every eye face fact fall family far farm fast father
feel feet few field fight figure find fine finger finish fire first fish five floor fly follow food foot for force
form four free fresh friend from front full game garden gave general get girl give glass go gold good great green
ground group grow had hair half hand happen happy hard has have he head hear heart heavy help her here high him his
hold home hope horse hot hour house how hundred i ice idea if important in inside into is island it job join joy judge
jump just keep key kind king knew know lady lamp land language large last late laugh law lead learn leave left less
let letter life light like line list little live long look lost love low machine made make man many map mark matter
may me mean measure meet men might mile milk mind miss money moon more morning most mother mountain mouth move much
music must my name near need never new next night nine no north nose not nothing notice now number ocean of off
often oil old on once one only open or orange order other our out over own page paint paper part pass past pay
people perhaps person picture piece place plain plan plane plant play please point poor possible power press problem
public pull push put question quick quiet quite rain ran reach read ready real reason record red remember rest rich
ride right river road rock room round rule run said same saw say school science sea second see seem self send sentence
serve set seven several shall shape she ship shoe short should show side sign silver simple since sing sister sit six
size sky sleep slow small smile snow so soft soldier some song soon sound south space speak special speech spell spring
stand star start state stay step still stone stood stop story street strong student study such sudden sugar summer
sun sure surface table take talk tall teach tell ten than thank that the their them then there these they thick thing
think third this those though thought thousand three through thumb time to today together told tomorrow too took tooth
top toward town toy travel treasure tree trip trouble true try turn two uncle under until up upon us use usual valley
value very view village vision voice vowel wait walk wall want war warm was wash watch water wave way we wear week
weight well went were west what wheel when where which while white who whole why wide wife wild will wind window
winter wish with without woman women wonder wood word work world would write wrong yard year yellow yes yet you
young your youth zero zone above baby bubble puppy member maybe problem probably number september mob pump map bomb
"""
_ONSETS = (
    "b p m f v th dh t d n l s z sh zh ch j k g h w r y bl br pl pr fr fl tr dr st sp sm sn kl kr gl gr sw".split()
)
_NUCLEI = "a e i o u ee oo ay oy ow ar er or ea igh".split()
_CODAS = " b p m f v th t d n l s z sh ch k g ng nt mp st lf rm".split(" ")


@dataclass(frozen=True)
class Utterance:
    """Synthesised speech: sound (N,) int16 at 16 kHz, phone indices and the second at which each ends."""

    samples: np.ndarray
    phones: np.ndarray
    ends: np.ndarray


def random_sentence(rng: np.random.Generator) -> str:
    """Some words, one in five of them invented, with a comma now and then: all phones in many neighbourhoods."""
    words = []
    for _ in range(int(rng.integers(4, 13))):
        if rng.random() < 0.2:
            syllables = [
                rng.choice(_ONSETS) + rng.choice(_NUCLEI) + rng.choice(_CODAS) for _ in range(rng.integers(1, 4))
            ]
            words.append("".join(syllables))
        else:
            words.append(str(rng.choice(_WORDS.split())))
        if rng.random() < 0.08:
            words[-1] += ","
    return " ".join(words) + "."


def synthesise(count: int, seed: int = 0) -> list[Utterance]:
    """Let flite speak `count` random sentences.

    Raises:
        InputError: if flite is not installed.
    """
    rng = np.random.default_rng(seed)
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for index in range(count):
            made.append(_speak(VOICES[index % len(VOICES)], random_sentence(rng), rng, Path(folder) / "speech.wav"))
    return made


def _speak(voice: str, text: str, rng: np.random.Generator, path: Path) -> Utterance:
    import soundfile

    settings = ["--setf", f"duration_stretch={rng.uniform(0.75, 1.3):.3f}"]
    if voice.startswith("kal"):
        settings += ["--setf", f"int_f0_target_mean={rng.uniform(80, 220):.0f}"]
    command = ["flite", "-voice", voice, *settings, "-psdur", "-t", text, "-o", str(path)]
    try:
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError as error:
        raise InputError("flite is not installed; get it with `apt-get install flite`.") from error
    pairs = [part.rsplit(":", 1) for part in answer.split()]
    phones = np.array([PHONES.index(_ALIASES.get(phone, phone)) for phone, _ in pairs])
    samples, rate = soundfile.read(str(path), dtype="int16")
    assert rate == SAMPLE_RATE
    return Utterance(samples, phones, np.array([float(end) for _, end in pairs]))


def example(
    utterance: Utterance,
    rng: np.random.Generator,
    babble: list[np.ndarray] | None = None,
    seconds: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """One changed reading of an utterance, or of about `seconds` of it: mel spectra (4 T, 64) and phones (2 T,)."""
    speed = float(np.exp(rng.uniform(np.log(0.8), np.log(1.3))))
    samples, first = utterance.samples, 0
    if seconds is not None:
        size = int(seconds * speed * SAMPLE_RATE)
        first = int(rng.integers(-4000, max(1, len(samples) - size + 4000)))
        samples = np.pad(samples[max(0, first) : max(0, first + size)], (max(0, -first), 0))
    sound = augment(normalised(stretch(samples / 32768, speed)), rng, babble)
    mel = log_mel(sound).numpy()
    middles = (np.arange(len(mel) // 2) + 0.5) * _STEP / SAMPLE_RATE * speed + first / SAMPLE_RATE
    labels = utterance.phones[np.searchsorted(utterance.ends, middles).clip(0, len(utterance.phones) - 1)]
    labels[(middles < 0) | (middles > utterance.ends[-1])] = PHONES.index(PAUSE)
    return mel, labels


def train_phone_net(
    utterances: list[Utterance],
    babble: list[np.ndarray] | None = None,
    epochs: int = 10,
    batch: int = 24,
    seconds: float = 3.0,
    seed: int = 0,
    log: Callable[[str], None] = print,
) -> PhoneNet:
    """Train on all but every 20th utterance, which measure it; cross-entropy, AdamW, one cosine."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    held, taught = utterances[::20], [u for i, u in enumerate(utterances) if i % 20]
    net = PhoneNet()
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=0.02)
    total = epochs * (len(taught) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=total, pct_start=0.1)
    size = int(seconds * SAMPLE_RATE / _STEP)
    started = time.monotonic()
    for epoch in range(epochs):
        net.train()
        order, losses = rng.permutation(len(taught)), []
        for start in range(0, len(order) - batch + 1, batch):
            mel, labels = _batch([taught[i] for i in order[start : start + batch]], size, rng, babble)
            loss = F.cross_entropy(net(mel).flatten(0, 1), labels.flatten(), label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        phones, visemes = accuracy(net, held)
        log(
            f"phonetics epoch {epoch + 1}/{epochs}: loss {np.mean(losses):.3f}, held-out phones {phones:.3f}, "
            f"visemes {visemes:.3f}, {time.monotonic() - started:.0f} s"
        )
    return net.eval()


def _batch(chosen: list[Utterance], size: int, rng: np.random.Generator, babble: list[np.ndarray] | None):
    mels, labels = [], []
    for utterance in chosen:
        mel, label = example(utterance, rng, babble, (size + 4) * _STEP / SAMPLE_RATE)
        mel, label = mel[: 2 * size], label[:size]
        short = size - len(label)
        mels.append(np.pad(mel, ((0, 2 * short), (0, 0)), mode="edge"))
        labels.append(np.pad(label, (0, short), constant_values=PHONES.index(PAUSE)))
    return torch.from_numpy(np.stack(mels)), torch.from_numpy(np.stack(labels))


@torch.no_grad()
def accuracy(net: PhoneNet, utterances: list[Utterance], seed: int = 1) -> tuple[float, float]:
    """Share of 20 ms steps whose phone, and whose viseme, is found, in changed readings of utterances."""
    net.eval()
    rng = np.random.default_rng(seed)
    right = np.zeros(3)
    for utterance in utterances:
        mel, labels = example(utterance, rng)
        probabilities = net(torch.from_numpy(mel)[None])[0].softmax(-1)
        visemes = viseme_probabilities(F.one_hot(torch.from_numpy(labels), len(PHONES)).float()).argmax(-1)
        right += (
            (probabilities.argmax(-1).numpy() == labels).sum(),
            (viseme_probabilities(probabilities).argmax(-1) == visemes).sum().item(),
            len(labels),
        )
    return right[0] / right[2], right[1] / right[2]


def main(output: str | Path, count: int = 3000, epochs: int = 10, seed: int = 0) -> None:
    """Synthesise speech, train the recogniser and write it to `output` (phonetics.safetensors, phonetics.json)."""
    from safetensors.torch import save_file

    torch.set_num_threads(1)
    utterances = synthesise(count, seed)
    babble = [u.samples.astype(np.float32) / 32768 for u in utterances[:100]]
    net = train_phone_net(utterances, babble, epochs, seed=seed)
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: value.half() if value.is_floating_point() else value for name, value in net.state_dict().items()},
        str(output / "phonetics.safetensors"),
    )
    (output / "phonetics.json").write_text(json.dumps({"channels": net.channels}) + "\n")
