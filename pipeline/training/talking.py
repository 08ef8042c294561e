"""Train the talking driver from the corpus: Huang 2022 §4.2, and what was measured to help.

Each clip is heard several times over, each time stretched, equalised, echoed and drowned in noise; people count
alike, however long their footage; the reference is any frame of the clip, fitted alone, as a portrait will be.

Twenty minutes of people are too few to learn hearing from, so it is learned from a large recogniser of speech
(`pipeline.training.speech_teacher`), in three steps. Networks that hear with the recogniser's own ears learn lips from
the clips. Small ears learn to hear what it hears (`pipeline.training.ears`). The driver's networks learn with these
ears, which they teach on, from the clips and from what the first networks' lips do on hours of speech without pictures.
Others hear with a recogniser of phones instead, which was taught on synthetic voices: they err differently.

Each network of either kind leaves other people out, and is measured on them: together they have seen everybody, and
still everybody's lips are known as a stranger's, to choose the finish by.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pipeline.drivers.ears import Ears
from pipeline.drivers.hearing import RAW_DIM, sense
from pipeline.drivers.mouth import MOUTH, Mouth
from pipeline.drivers.networks import DriverConfig, DriverNet, Member, sound_dim
from pipeline.drivers.phonetics import STEPS_PER_FRAME, PhoneNet
from pipeline.drivers.talking import Finish, TalkingDriver
from pipeline.face.morphable import MorphableModel
from pipeline.hub import EMBEDDED
from pipeline.training import ears
from pipeline.training.corpus import read_manifest, tracked_clips
from pipeline.training.lessons import Lesson, fold, make_echoes, make_lessons, refine_lags, silent_rows
from pipeline.training.phonetics import main as train_phonetics
from pipeline.training.pieces import corpus_speech, fit_axes, make_pieces
from pipeline.training.speech_teacher import SpeechTeacher
from pipeline.training.talking_networks import Recipe, measure, predict, train_network

FOLDS = 6
TEACHERS = (Recipe(core="tcn", width=160),) * 4
_LONG = Recipe(core="tcn", width=160, steps=2000, ears_rate=1e-3)
_PHONES = Recipe(core="gru", ears="phones", ears_rate=1e-3)
ENSEMBLE = (_LONG, _LONG, replace(_PHONES, core="tcn", width=160, ears_rate=5e-4), _PHONES, _PHONES)
_SPEECH = ("talk", "speech", "synthetic", "silent", "listen")  # kinds of clips that may have it


def main(
    corpus: str | Path,
    output: str | Path,
    cache: str | Path,
    minutes: float = np.inf,
    phonetics: str | Path | None = None,
    ensemble: tuple[Recipe, ...] = ENSEMBLE,
    teachers: tuple[Recipe, ...] = TEACHERS,
    readings: int = 5,
    hours: float = 8.0,
    log: Callable[[str], None] = print,
) -> None:
    """Train the whole driver and write it to `output`.

    Args:
        corpus: the corpus's folder.
        output: where the weights go.
        cache: keeps tracked clips (`coefficients/`, see `tracked_clips`) and the phone recogniser between trainings;
            `teacher.onnx` in it is what `speech_teacher` asks for, and recordings in `speech/`, if there are any, of
            anybody in any language, are heard too.
        minutes: how long the networks may take in all, beside what prepares them.
        phonetics: a recogniser that `pipeline.training.phonetics` wrote; the cache's, trained if need be, unless given.
        ensemble: how each network is trained.
        teachers: how each of those is trained that the ensemble learns from.
        readings: changed versions of each clip's sound.
        hours: of speech without pictures.
        log: told how it goes.

    Raises:
        InputError: if the teacher or the corpus is missing.
    """
    torch.set_num_threads(1)
    cache = Path(cache)
    teacher = SpeechTeacher(cache / "teacher.onnx")
    phone_net = _recogniser(cache / "phonetics" if phonetics is None else Path(phonetics))
    model = MorphableModel.load(EMBEDDED / "face")
    mouth = Mouth.of(model)
    spoken = corpus_speech([file for file in read_manifest(corpus) if file.split == "train" and file.kind in _SPEECH])
    axes = fit_axes(spoken, teacher)

    def listen(sound: np.ndarray) -> np.ndarray:
        return np.concatenate([sense(sound), axes(teacher(sound)).reshape(-1, heard)], 1)

    heard = STEPS_PER_FRAME * len(axes.weights)
    clips = tracked_clips(corpus, ("talk", "synthetic"), "train", cache / "coefficients", model, log)
    lessons = make_lessons(clips, model, readings, listen=listen, log=log)
    silence = silent_rows(listen)
    part = minutes / (3 + len(teachers) + 2 * len(ensemble))

    def taught(some: list[Lesson], index: int, recipe: Recipe) -> DriverNet:
        torch.manual_seed(index)
        net = DriverNet(DriverConfig(heard, core=recipe.core, width=recipe.width))
        people, held = fold(some, clips, index, FOLDS)
        rows = silence[:, RAW_DIM:]
        train_network(net, hearing(people, slice(RAW_DIM, None)), mouth, rows, recipe, index, log=log, minutes=part)
        score = measure([net], hearing(held, slice(RAW_DIM, None)), mouth)
        log(f"teacher {index}: lips of people left out r {score['r']:.3f}")
        return net

    judges = [taught(lessons, index, teachers[0]) for index in (0, 1)]
    lessons = refine_lags(lessons, mouth, lambda lesson: _said(judges, lesson))
    wise = [taught(lessons, index, recipe) for index, recipe in enumerate(teachers)]
    pieces = make_pieces(spoken, sorted((cache / "speech").rglob("*.*")), teacher, axes, hours, log=log)
    young = ears.teach(pieces, axes.weights, Ears(), minutes=3 * part, log=log)

    lessons = hearing(lessons, slice(RAW_DIM))
    echoes = make_echoes(pieces, lessons, lambda rows, lesson, portrait: predict(wise, lesson, portrait, rows))
    members, strangers = [], []
    for index, recipe in enumerate(ensemble):
        torch.manual_seed(index)
        own = deepcopy(young if recipe.ears == "taught" else phone_net)
        size = DriverConfig(sound_dim(own), core=recipe.core, width=recipe.width)
        people, held = fold(lessons, clips, index, FOLDS)
        absent = {lesson.speaker for lesson in held}
        people = people + [echo for echo in echoes if echo.speaker not in absent]
        member = Member(size, own)
        train_network(member, people, mouth, silence[:, :RAW_DIM], recipe, index, held, log=log, minutes=2 * part)
        members.append(member)
        strangers.append(held)
    finish = choose_finish(members, strangers, mouth, log)
    TalkingDriver(members, phone_net, mouth, finish, None, model).save(output)


def hearing(lessons: Sequence[Lesson], columns: slice) -> list[Lesson]:
    """The same lessons, heard only in some columns."""
    return [replace(lesson, sound=[rows[:, columns] for rows in lesson.sound]) for lesson in lessons]


def _said(nets: Sequence[DriverNet], lesson: Lesson) -> np.ndarray:
    return predict(nets, lesson, sound=lesson.sound[0][:, RAW_DIM:])


def choose_finish(
    members: list[Member], strangers: list[list[Lesson]], mouth: Mouth, log: Callable[[str], None] = print
) -> Finish:
    """Gains with which mouths of people whom a member has not seen move as much as they did, to 0.97 of it.

    Each coefficient's gain is the ratio of spreads, drawn towards 1 where prediction and truth have little in
    common: what isn't known can't be shown by shouting. An ensemble's mean moves less than its members; how much
    less is measured on everybody.
    """
    pairs = [(member, lesson) for member, held in zip(members, strangers, strict=True) for lesson in held]
    own, real, spreads, calmer = [], [], [], []
    for member, lesson in pairs:
        made, truth = predict([member], lesson), lesson.expression[0]
        mean = predict(members, lesson)
        own.append(made[:, MOUTH] - made[:, MOUTH].mean(0))
        real.append(truth[:, MOUTH] - truth[:, MOUTH].mean(0))
        alone, together, true = (mouth.geometry(lesson.identity, beta)[:, 0].std() for beta in (made, mean, truth))
        spreads.append(alone / true)
        calmer.append((together / alone, mean[:, MOUTH].std(0) / made[:, MOUTH].std(0)))
    a, b = np.concatenate(own), np.concatenate(real)
    r = (a * b).mean(0) / (a.std(0) * b.std(0))
    ratio = b.std(0) / (a.std(0) * np.median([row for _, row in calmer], 0))
    gains = 1 + (np.clip(ratio, 1, 2.0) - 1) * np.clip(r / 0.5, 0, 1)
    gain = float(np.clip(0.97 / (np.mean(spreads) * np.median([row for row, _ in calmer])), 0.8, 2.0))
    log(f"gains of coefficients {gains.min():.2f} to {gains.max():.2f}, of the opening {gain:.2f}")
    return Finish(gains.astype(np.float32), opening_gain=gain)


def _recogniser(folder: Path) -> PhoneNet:
    if not (folder / "phonetics.json").exists():
        train_phonetics(folder)
    return load_phone_net(folder)


def load_phone_net(folder: str | Path) -> PhoneNet:
    """Read what `pipeline.training.phonetics.main` wrote."""
    from safetensors.torch import load_file

    folder = Path(folder)
    net = PhoneNet(**json.loads((folder / "phonetics.json").read_text()))
    tensors = load_file(str(folder / "phonetics.safetensors"))
    net.load_state_dict({name: value.float() for name, value in tensors.items()})
    return net.eval()
