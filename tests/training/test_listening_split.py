"""Who is held out when the listening driver is trained."""

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.training.listening import split_lessons


def lessons(sounds: int, source: str) -> list:
    """Three listeners to each sound."""
    heard = [np.zeros(1) for _ in range(sounds)]
    return [SimpleNamespace(sound=sound, source=source) for sound in heard for _ in range(3)]


@pytest.mark.parametrize(("sounds", "apart"), [(1, 0), (3, 1), (30, 3)])
def test_real_listeners_alone_hold_some_out(sounds, apart):
    taught, held = split_lessons(lessons(sounds, "real"))
    assert len(held) == 3 * apart and len(taught) == 3 * (sounds - apart)
    assert not {id(one.sound) for one in taught} & {id(one.sound) for one in held}


def test_beside_composed_lessons_every_real_listener_teaches():
    real = lessons(3, "real")
    taught, held = split_lessons(real + lessons(30, "composed"))
    assert all(any(one is other for other in taught) for one in real) and len(held) == 9
