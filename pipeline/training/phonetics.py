"""Train the phone recogniser on speech that free synthesisers made, whose phone times are known exactly.

    apt-get install flite espeak-ng && python -m pipeline train talking

The voices of `pipeline.training.synthesis` are sped up and slowed down (which moves pitch and formants, as other
throats would), equalised, echoed and drowned in noise.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from pipeline.clock import SAMPLE_RATE, SAMPLES_PER_FRAME
from pipeline.drivers.level import normalised
from pipeline.drivers.phonetics import PAUSE, PHONES, STEPS_PER_FRAME, PhoneNet, log_mel, viseme_probabilities
from pipeline.training.augmentation import augment, stretch
from pipeline.training.synthesis import Utterance, synthesise

_STEP = SAMPLES_PER_FRAME // STEPS_PER_FRAME  # samples an answer covers


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
    batch: int = 16,
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
            loss = F.cross_entropy(net(mel).flatten(0, 1), labels.flatten(), label_smoothing=0.02)
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


def main(output: str | Path, count: int = 3200, epochs: int = 12, seed: int = 0) -> None:
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
