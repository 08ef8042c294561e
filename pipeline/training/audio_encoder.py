"""Train the hierarchical audio encoder on speech of people and of synthesisers; pictures are not needed.

    apt-get install flite espeak-ng && python -m pipeline train audio_encoder

Each level is asked for what it should hear: the low one for pitch, loudness and voicing, the middle one for phones, the
high one for words (Chang 2023, eq. 2) and for where phrases end, the fused rows for all of it. Words are known where a
synthesiser spoke; a small network that reads their spelling, trained along, stands for the text in eq. 2 and is thrown
away afterwards. The questions' own layers are thrown away too.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.audio.features import extract_features
from pipeline.clock import SAMPLE_RATE, SAMPLES_PER_FRAME
from pipeline.drivers.audio_encoder import LEVEL_AHEAD, LEVEL_DIM, MFCC_DIM, AudioEncoder, EncodedSpeech, EncoderConfig
from pipeline.drivers.level import normalised, speech_level
from pipeline.drivers.phonetics import PHONES, STEPS_PER_FRAME, log_mel
from pipeline.drivers.running_level import levelled
from pipeline.training.augmentation import augment, stretch
from pipeline.training.spoken import BINARY, ENDED, ENERGY, PITCH, SOON, TARGET_DIM, VOICE, VOICED, Spoken

from pipeline.training.spoken import monologue, spoken  # isort: skip
from pipeline.training.synthesis import synthesise

FRAMES = 125  # of an example: 5 s
TEMPERATURE = 0.1
_SILENCE = 2 * SAMPLE_RATE  # samples of it before and after the speech that an example may take
_PEOPLE, _SYNTHETIC = 4, 6  # examples in a batch
_RATE = 3e-3
_BUCKETS = 4096
_PHONE_DIM = STEPS_PER_FRAME * len(PHONES)
_LOW = (VOICED, PITCH, ENERGY)
_HIGH = (VOICE, SOON, ENDED)
_WORDS_HIDDEN = 0.5  # share of examples whose words are masked, where there are vectors of words at all


@dataclass(frozen=True)
class Example:
    """Five seconds of changed speech: inputs, and what is asked (nothing where `phones` is -1)."""

    mel: np.ndarray
    mfcc: np.ndarray
    targets: np.ndarray
    phones: np.ndarray
    words: tuple[tuple[str, int, int], ...]
    vectors: np.ndarray | None


class Spelling(nn.Module):
    """Words to unit vectors by their letters: hashed n-grams of 2 to 4 letters and the whole, then two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces = nn.EmbeddingBag(_BUCKETS, LEVEL_DIM, mode="mean")
        self.layers = nn.Sequential(nn.Linear(LEVEL_DIM, 128), nn.GELU(), nn.Linear(128, LEVEL_DIM))

    def forward(self, words: list[str]) -> Tensor:
        pieces = [[zlib.crc32(piece.encode()) % _BUCKETS for piece in _pieces(word)] for word in words]
        offsets = np.cumsum([0] + [len(p) for p in pieces[:-1]])
        return self.layers(self.pieces(torch.tensor([*chain(*pieces)]), torch.from_numpy(offsets)))


def _pieces(word: str) -> list[str]:
    marked = f"<{word}>"
    return [marked] + [marked[i : i + n] for n in (2, 3, 4) for i in range(len(marked) - n + 1)]


class Questions(nn.Module):
    """What is asked of each level; used in training only."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.low = nn.Linear(LEVEL_DIM, len(_LOW))
        self.middle = nn.Linear(LEVEL_DIM, _PHONE_DIM)
        self.high = nn.Linear(LEVEL_DIM, len(_HIGH))
        self.fused = nn.Linear(config.output_dim, TARGET_DIM + _PHONE_DIM)
        self.spelling = Spelling()

    def forward(self, encoded: EncodedSpeech, batch: list[Example]) -> dict[str, Tensor]:
        """Losses by name."""
        wanted = torch.from_numpy(np.stack([e.targets for e in batch]))
        phones = torch.from_numpy(np.stack([e.phones for e in batch]))
        fused = self.fused(encoded.fused)
        losses = {
            "low": answered(self.low(encoded.low), wanted, _LOW),
            "middle": _phone_loss(self.middle(encoded.middle), phones),
            "high": answered(self.high(encoded.high), wanted, _HIGH),
            "fused": answered(fused[..., :TARGET_DIM], wanted, tuple(range(TARGET_DIM))),
            "fused phones": _phone_loss(fused[..., TARGET_DIM:], phones),
        }
        texts, spans = spans_of(batch)
        if texts:
            levels = [word_means(level, spans) for level in (encoded.low, encoded.middle, encoded.high)]
            losses["words"] = contrastive(self.spelling(texts), *levels, texts)
        return losses


WEIGHTS = {"low": 0.5, "middle": 0.5, "high": 0.5, "fused": 1.0, "fused phones": 0.3, "words": 0.5}


def answered(given: Tensor, wanted: Tensor, which: tuple[int, ...]) -> Tensor:
    """Mean loss of answers (B, T, len(which)) to columns of targets (B, T, 7); pitch counts where there is a voice."""
    total = given.new_zeros(())
    for column, target in enumerate(which):
        own, real = given[..., column], wanted[..., target]
        if target in BINARY:
            total = total + F.binary_cross_entropy_with_logits(own, real)
        elif target == PITCH:
            voiced = wanted[..., VOICED] > 0.5
            if voiced.any():
                total = total + 2 * F.smooth_l1_loss(own[voiced], real[voiced], beta=0.2)
        else:
            total = total + 0.5 * F.smooth_l1_loss(own, real)
    return total / len(which)


def _phone_loss(logits: Tensor, phones: Tensor) -> Tensor:
    logits = logits.reshape(-1, len(PHONES))
    return F.cross_entropy(logits, phones.flatten(), ignore_index=-1, label_smoothing=0.02)


def spans_of(batch: list[Example]) -> tuple[list[str], list[tuple[int, int, int]]]:
    """The batch's words, and for each its example and the frames in which it begins and has ended."""
    words = [(text, (index, start, stop)) for index, one in enumerate(batch) for text, start, stop in one.words]
    return [text for text, _ in words], [span for _, span in words]


def word_means(level: Tensor, spans: list[tuple[int, int, int]]) -> Tensor:
    """A level's rows (B, T, 64) averaged over words: (K, 64)."""
    return torch.stack([level[index, start:stop].mean(0) for index, start, stop in spans])


def contrastive(text: Tensor, low: Tensor, middle: Tensor, high: Tensor, names: list[str]) -> Tensor:
    """Words' texts against their sound, each (K, 64): the high level of the same word is to be the likest.

    The other words' high level and all words' low and middle level are what it is told from. The same word said
    elsewhere is left out: it is neither right nor wrong.

    Source: Chang 2023, eq. 2.
    """
    text = F.normalize(text, dim=-1)
    similar = [text @ F.normalize(level, dim=-1).T / TEMPERATURE for level in (high, low, middle)]
    ids = {name: index for index, name in enumerate(dict.fromkeys(names))}
    which = torch.tensor([ids[name] for name in names])
    again = (which[:, None] == which) & ~torch.eye(len(names), dtype=torch.bool)
    similar[0] = similar[0].masked_fill(again, -torch.inf)
    return F.cross_entropy(torch.cat(similar, 1), torch.arange(len(names)))


def example(
    item: Spoken, rng: np.random.Generator, babble: list[np.ndarray], causal: bool, frames: int = FRAMES
) -> Example:
    """A changed piece of somebody's speech: another speed, voice, room, noise and level; then made even, as in use."""
    speed = float(np.exp(rng.uniform(np.log(0.85), np.log(1.2))))
    size, own = round(frames * SAMPLES_PER_FRAME * speed), len(item.samples)
    first = int(rng.integers(-_SILENCE, max(1, own - size + _SILENCE)))
    piece = item.samples[max(0, first) : max(0, first + size)]
    piece = np.pad(piece, (max(0, -first), 0))
    piece = np.pad(piece, (0, size - len(piece))) / 32768
    level = speech_level(item.samples / 32768)
    sound = augment(normalised(stretch(piece, speed), level), rng, babble)[: frames * SAMPLES_PER_FRAME]
    sound = np.pad(sound, (0, frames * SAMPLES_PER_FRAME - len(sound)))
    sound = np.clip(sound * np.float32(10 ** (rng.uniform(-15, 8) / 20)), -1, 1)
    sound = np.concatenate(list(levelled([sound], 0 if causal else LEVEL_AHEAD)))

    begin = first / SAMPLES_PER_FRAME
    at = np.floor((np.arange(frames) + 0.5) * speed + begin).astype(int)
    inside = (at >= 0) & (at < len(item.targets))
    wanted = np.where(inside[:, None], item.targets[at.clip(0, len(item.targets) - 1)], 0).astype(np.float32)
    wanted[:, ENERGY] = np.where(inside, wanted[:, ENERGY], -4)
    wanted[:, PITCH] += np.log2(speed) * (wanted[:, VOICED] > 0.5)
    phones = np.full(frames * STEPS_PER_FRAME, -1)
    if item.phones is not None:
        steps = np.floor((np.arange(len(phones)) + 0.5) * speed + begin * STEPS_PER_FRAME).astype(int)
        known = (steps >= 0) & (steps < len(item.phones))
        phones[known] = item.phones[steps[known]]
    words = []
    for word in item.words.words:
        start, stop = round((word.start - begin) / speed), round((word.stop - begin) / speed)
        if start >= 0 and stop <= frames and stop > start:
            words.append(("".join(c for c in word.text.lower() if c.isalnum()), start, stop))
    vectors = None
    if item.words.vectors is not None and rng.random() > _WORDS_HIDDEN:
        rows, known = item.words.rows(0, len(item.targets), item.words.vectors.shape[1])
        vectors = np.where((inside & known[at.clip(0, len(known) - 1)])[:, None], rows[at.clip(0, len(rows) - 1)], 0)
    mfcc = extract_features(sound)[:, :MFCC_DIM]
    return Example(log_mel(sound).numpy(), mfcc, wanted, phones, tuple(words), vectors)


def run(encoder: AudioEncoder, batch: list[Example]) -> EncodedSpeech:
    """Encode examples together."""
    mel, mfcc = (torch.from_numpy(np.stack([getattr(e, name) for e in batch])) for name in ("mel", "mfcc"))
    if all(e.vectors is None for e in batch):
        return encoder(mel, mfcc)
    blank = np.zeros((mfcc.shape[1], encoder.config.word_dim), np.float32)
    vectors = np.stack([blank if e.vectors is None else e.vectors.astype(np.float32) for e in batch])
    return encoder(mel, mfcc, torch.from_numpy(vectors), torch.from_numpy(vectors.any(-1)))


def train_encoder(
    people: list[Spoken],
    synthetic: list[Spoken],
    config: EncoderConfig,
    minutes: float,
    seed: int = 0,
    log: Callable[[str], None] = print,
    begin: tuple[AudioEncoder, Questions] | None = None,
    most_steps: int = 1_000_000,
) -> tuple[AudioEncoder, Questions]:
    """Train for some minutes or `most_steps` on all but every 20th synthetic monologue, which measures it: AdamW, one
    cosine.

    The causal variant may begin from what the full one learned: its layers have the same shapes, and spectra's patterns
    are the same; only how far each layer looks must be learned anew.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    taught = [item for index, item in enumerate(synthetic) if index % 20]
    babble = [item.samples / np.float32(32768) for item in people[:60]]
    encoder, questions = AudioEncoder(config), Questions(config)
    if begin is not None:
        encoder.load_state_dict(begin[0].state_dict())
        questions.load_state_dict(begin[1].state_dict())
    encoder.train()
    parameters = [*encoder.parameters(), *questions.parameters()]
    optimiser = torch.optim.AdamW(parameters, _RATE, weight_decay=0.02)
    started, losses, step, told = time.monotonic(), [], 0, 0
    while (share := max((time.monotonic() - started) / (60 * minutes), step / most_steps)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = _RATE * min(1, share * 20 + 0.02) * (0.5 + 0.5 * np.cos(np.pi * share))
        chosen = [taught[i] for i in rng.integers(len(taught), size=_SYNTHETIC)]
        chosen += [people[i] for i in rng.integers(len(people), size=_PEOPLE)]
        batch = [example(item, rng, babble, config.causal) for item in chosen]
        found = questions(run(encoder, batch), batch)
        loss = sum(WEIGHTS[name] * value for name, value in found.items())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        losses.append({name: value.item() for name, value in found.items()})
        step += 1
        if share * 10 >= told + 1:
            told += 1
            means = {name: np.mean([one[name] for one in losses if name in one]) for name in WEIGHTS}
            losses.clear()
            log(f"{share:4.0%}, step {step}: " + ", ".join(f"{name} {value:.3f}" for name, value in means.items()))
    return encoder.eval(), questions.eval()


@torch.inference_mode()
def held_out_words(encoder: AudioEncoder, questions: Questions, synthetic: list[Spoken], seed: int = 1) -> str:
    """How often a word's text finds its own sound among 100 words' high level, and how many phones are right."""
    rng = np.random.default_rng(seed)
    batch = [example(item, rng, [], encoder.config.causal) for item in synthetic[::20] for _ in range(2)]
    encoded = run(encoder, batch)
    phones = torch.from_numpy(np.stack([e.phones for e in batch]))
    right = questions.fused(encoded.fused)[..., TARGET_DIM:].reshape(len(batch), -1, len(PHONES)).argmax(-1) == phones
    texts, spans = spans_of(batch)
    first = {name: index for index, name in reversed(list(enumerate(texts)))}
    chosen = list(first.values())[:100]
    sounds = F.normalize(word_means(encoded.high, [spans[i] for i in chosen]), dim=-1)
    names = F.normalize(questions.spelling([texts[i] for i in chosen]), dim=-1)
    found = (names @ sounds.T).argsort(1, descending=True)[:, :5] == torch.arange(len(chosen))[:, None]
    return (
        f"held-out sentences in noise: phones {right[phones >= 0].float().mean():.3f}; a word among {len(chosen)} by "
        f"its sound {found[:, 0].float().mean():.2f}, among the five likest {found.any(1).float().mean():.2f}"
    )


def listening_material(
    corpus: Path, utterances: int, seed: int, log: Callable[[str], None]
) -> tuple[list[Spoken], list[Spoken]]:
    """People's speech of the corpus's training split, and synthesised monologues of two sentences each."""
    from pipeline.audio.reading import read_audio
    from pipeline.training.corpus import read_manifest

    files = [f for f in read_manifest(corpus) if f.kind in ("speech", "talk") and f.split == "train" and f.seconds > 2]
    people = [spoken(read_audio(file.path)) for file in files]
    log(f"{len(people)} recordings of people, {sum(len(p.targets) for p in people) / 1500:.0f} min")
    rng = np.random.default_rng(seed)
    made = synthesise(utterances, seed)
    synthetic = [monologue(made[i : i + 2], rng) for i in range(0, len(made) - 1, 2)]
    log(f"{len(synthetic)} synthetic monologues, {sum(len(s.targets) for s in synthetic) / 1500:.0f} min")
    return people, synthetic


def main(
    corpus: Path, output: Path, cache: Path | None = None, minutes: float = 15, seed: int = 0, **_: object
) -> None:
    """Train both variants, `minutes` each; write them to `output` and `output/causal` (`python -m pipeline train`)."""
    torch.set_num_threads(1)
    people, synthetic = listening_material(corpus, 1200, seed, print)
    learned = None
    for config, folder in ((EncoderConfig(), output), (EncoderConfig(causal=True), output / "causal")):
        learned = train_encoder(people, synthetic, config, minutes, seed, begin=learned)
        learned[0].save(folder)
        print(held_out_words(*learned, synthetic))
