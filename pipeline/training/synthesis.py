"""Speech of free synthesisers, whose phone times are known exactly: no video and no transcript is needed.

flite (`apt-get install flite`) speaks with four recorded voices; espeak-ng (`apt-get install espeak-ng`), a formant
synthesiser, adds dozens of made-up throats and five languages. Sentences are random: common and invented words.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.clock import SAMPLE_RATE
from pipeline.drivers.phonetics import PAUSE, PHONES
from pipeline.errors import InputError

FLITE_VOICES = ("rms", "slt", "awb", "kal16")
ESPEAK_LANGUAGES = ("en-us", "en-us", "en-gb", "de", "de", "fr", "es", "it")
ESPEAK_THROATS = tuple(f"m{i}" for i in range(1, 9)) + tuple(f"f{i}" for i in range(1, 6)) + (
    "Alex", "Alicia", "Andrea", "Annie", "Belinda", "Gene", "Jacky", "Lee", "Linda", "Mario", "Michael", "steph",
)  # fmt: skip
_ALIASES = {"ssil": PAUSE, "sil": PAUSE, "axr": "er", "ix": "ih", "ux": "uw", "el": "l", "em": "m", "en": "n"}
# espeak-ng's names, longest first; what is not listed is taken by its first letter.
_ESPEAK = {
    "tS": "ch", "dZ": "jh", "ts": "s", "aI": "ay", "aU": "aw", "eI": "ey", "oU": "ow", "OI": "oy", "OY": "oy",
    "@L": "l", "n^": "n", "l^": "l", "3": "er", "p": "p", "b": "b", "t": "t", "d": "d", "k": "k", "g": "g",
    "m": "m", "n": "n", "N": "ng", "f": "f", "v": "v", "T": "th", "D": "dh", "s": "s", "z": "z", "S": "sh",
    "Z": "zh", "C": "sh", "x": "k", "Q": "g", "B": "v", "h": "hh", "l": "l", "r": "r", "R": "r", "w": "w",
    "j": "y", "J": "y", "i": "iy", "I": "ih", "e": "ey", "E": "eh", "a": "aa", "A": "aa", "0": "aa", "O": "ao",
    "o": "ow", "u": "uw", "U": "uh", "V": "ah", "@": "ax", "y": "uw", "Y": "uw", "W": "uh", "&": "ae",
    "8": "uh",
}  # fmt: skip
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
    """Synthesised speech: sound (N,) int16 at 16 kHz, phone indices, the second at which each ends, and the text."""

    samples: np.ndarray
    phones: np.ndarray
    ends: np.ndarray
    text: str = ""


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


def synthesise(count: int, seed: int = 0, espeak_share: float = 0.4) -> list[Utterance]:
    """Let flite and espeak-ng speak `count` random sentences.

    Raises:
        InputError: if one of them is not installed.
    """
    rng = np.random.default_rng(seed)
    espeak = _Espeak() if espeak_share > 0 else None
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for index in range(count):
            text = random_sentence(rng)
            if espeak is not None and rng.random() < espeak_share:
                utterance = espeak(text, rng)
            else:
                utterance = _flite(FLITE_VOICES[index % len(FLITE_VOICES)], text, rng, Path(folder) / "speech.wav")
            made.append(replace(utterance, text=text))
    return made


def _flite(voice: str, text: str, rng: np.random.Generator, path: Path) -> Utterance:
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


class _Espeak:
    """espeak-ng through its library, which tells when each phone begins."""

    _RATE = 22_050
    _PHONEME_EVENT = 7

    class _Event(ctypes.Structure):
        _fields_ = (
            ("type", ctypes.c_int),
            ("identifier", ctypes.c_uint),
            ("text_position", ctypes.c_int),
            ("length", ctypes.c_int),
            ("milliseconds", ctypes.c_int),
            ("sample", ctypes.c_int),
            ("user", ctypes.c_void_p),
            ("name", ctypes.c_char * 8),
        )

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libespeak-ng.so.1")
        except OSError as error:
            raise InputError("espeak-ng is not installed; get it with `apt-get install espeak-ng`.") from error
        synchronous, phoneme_events = 2, 1
        if self._library.espeak_Initialize(synchronous, 0, None, phoneme_events) != self._RATE:
            raise InputError("espeak-ng does not start; install its package espeak-ng-data.")
        self._sound: list[np.ndarray] = []
        self._begins: list[tuple[float, str]] = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(self._Event))
        self._callback = kind(self._take)
        self._library.espeak_SetSynthCallback(self._callback)

    def _take(self, wave, count: int, events) -> int:
        if wave and count > 0:
            self._sound.append(np.ctypeslib.as_array(wave, (count,)).copy())
        index = 0
        while events[index].type != 0:
            if events[index].type == self._PHONEME_EVENT:
                self._begins.append((events[index].sample / self._RATE, events[index].name.decode()))
            index += 1
        return 0

    def __call__(self, text: str, rng: np.random.Generator) -> Utterance:
        import soxr

        self._sound.clear()
        self._begins.clear()
        language = str(rng.choice(ESPEAK_LANGUAGES))
        self._library.espeak_SetVoiceByName(f"{language}+{rng.choice(ESPEAK_THROATS)}".encode())
        rate, pitch, spread = 1, 3, 4
        for parameter, value in (
            (rate, rng.integers(130, 200)),
            (pitch, rng.integers(25, 75)),
            (spread, rng.integers(30, 80)),
        ):
            self._library.espeak_SetParameter(parameter, int(value), 0)
        spoken = text.encode()
        self._library.espeak_Synth(spoken, len(spoken) + 1, 0, 0, 0, 1, None, None)
        self._library.espeak_Synchronize()
        sound = np.concatenate(self._sound)
        begins = np.array([begin for begin, _ in self._begins])
        phones = np.array([PHONES.index(_arpabet(name, language)) for _, name in self._begins])
        samples = soxr.resample(sound.astype(np.float32), self._RATE, SAMPLE_RATE)
        return Utterance(
            samples.clip(-32768, 32767).astype(np.int16), phones, np.append(begins[1:], len(sound) / self._RATE)
        )


def _arpabet(name: str, language: str) -> str:
    """flite's name for espeak-ng's."""
    if not name or name[0] in "_?;|":
        return PAUSE
    if name[0] == "a" and name[:2] not in _ESPEAK and language.startswith("en"):
        return "ae"
    return _ESPEAK.get(name[:2]) or _ESPEAK.get(name[0]) or "ax"
