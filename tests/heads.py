"""Tiny weights made by code, and small helpers that several tests of heads share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from pipeline.clock import SAMPLE_RATE
from pipeline.coefficients import Coefficients
from pipeline.face import topology
from pipeline.face.portrait import Portrait

if TYPE_CHECKING:
    from pipeline.drivers.listening import ListeningDriver
    from pipeline.face.morphable import MorphableModel

SIZE = 256


def one_sentence(error: BaseException | str) -> bool:
    """Whether a message is one sentence that starts properly, ends, and shows nothing of the program's inside."""
    text = str(error)
    inside = ("Traceback", "Error:", "0x", "<class", "None", "errno", "\n")
    # A dot may stand in a file's name or a number, but then nothing follows it that starts a sentence.
    return text.endswith(".") and ". " not in text[:-1] and 20 < len(text) < 300 and not any(s in text for s in inside)


def make_debug_weights(folder: Path) -> Path:
    """A folder of weights of every kind but the face's, small and random: everything but meaning.

    The morphable model and liveliness are the embedded ones, as for any folder that lacks them.
    """
    import torch

    from pipeline.drivers.audio_encoder import AudioEncoder, EncoderConfig
    from pipeline.drivers.ears import Ears
    from pipeline.drivers.mouth import Mouth
    from pipeline.drivers.networks import DriverConfig, Member, sound_dim
    from pipeline.drivers.phonetics import PhoneNet
    from pipeline.drivers.talking import Finish, TalkingDriver
    from pipeline.face.morphable import MorphableModel
    from pipeline.hub import EMBEDDED
    from pipeline.renderers.patch_network import PatchNetwork
    from pipeline.renderers.surroundings import RAYS, Surroundings

    torch.manual_seed(0)
    model = MorphableModel.load(EMBEDDED / "face")
    ears = Ears(8, 4, (1, 2))
    member = Member(DriverConfig(sound_dim(ears), width=8, hidden=4, layers=1), ears)
    driver = TalkingDriver([member], PhoneNet(channels=8), Mouth.of(model), Finish(), None, model)
    driver.save(folder / "talking")
    _small_listener(model).save(folder / "listening")
    AudioEncoder(EncoderConfig(width=4)).save(folder / "audio_encoder")
    for kind in ("mouth", "eye"):
        patch = PatchNetwork(width=4, blocks=1)
        torch.nn.init.normal_(patch.leave.weight, std=0.05)
        patch.save(folder / "patches" / kind)
    (folder / "mesh").mkdir()
    radii = np.array([0.2, 0.6, 1.2])
    follow = np.zeros((3, RAYS, 4))
    follow[:2] = np.array([0.7, 0.3])[:, None, None]
    Surroundings(radii, follow).save(folder / "mesh")
    index = {"_class_name": "ConversationalHeadPipeline", "talking": [], "patches": [], "mesh": [], "listening": []}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def _small_listener(model: MorphableModel) -> ListeningDriver:
    import torch

    from pipeline.drivers.audio_encoder import AudioEncoder, EncoderConfig
    from pipeline.drivers.listening import ListeningDriver
    from pipeline.drivers.listening_networks import ListenerConfig, ListenerNet
    from pipeline.drivers.motion_space import MotionSpace

    noise = np.random.default_rng(0)
    space = MotionSpace.of(0.02 * noise.normal(size=(300, 6)), noise.normal(size=(300, 64)), model, components=4)
    sizes = {"motion_dim": space.size, "width": 8, "hidden": 4, "layers": 2, "head_width": 8, "dilations": (1, 2)}
    net = ListenerNet(ListenerConfig(**sizes))
    torch.nn.init.normal_(net.flow.out.weight, std=0.3)
    return ListeningDriver(net, AudioEncoder(EncoderConfig(width=4)), space, None, model)


def write_sound(path: Path, samples: np.ndarray, rate: int = SAMPLE_RATE, **options: str) -> Path:
    """Write (N,) or (N, channels) samples as a sound file."""
    soundfile.write(path, samples, rate, **options)
    return path


def moved(own: Coefficients, expression: np.ndarray | float = 0.0, pose: np.ndarray | float = 0.0) -> Coefficients:
    """One frame's coefficients with something added."""
    return Coefficients(own.expression + expression, own.pose + np.asarray(pose, np.float32), own.crop)


def nose_from_middle(landmarks: np.ndarray) -> np.ndarray:
    """Where the nose's tip is against the middle between the cheeks' edges, in pixels right and down."""
    return (landmarks[1] - landmarks[[234, 454]].mean(0))[:2]


def face_box(portrait: Portrait, margin: float = 0.0) -> tuple[slice, slice]:
    """Rows and columns of the face in the picture."""
    points = portrait.landmarks[topology.OUTLINE, :2]
    low = np.maximum(points.min(0) - margin * portrait.scale, 0).astype(int)
    high = np.ceil(points.max(0) + margin * portrait.scale).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])
