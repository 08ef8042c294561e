"""The tag that anyone can see: there on every size and ground, and nowhere else in the picture."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.postprocess.visible_tag import VisibleTag


def tagged(size: tuple[int, int], ground: int) -> tuple[np.ndarray, np.ndarray]:
    frame = np.full((size[1], size[0], 3), ground, np.uint8)
    (drawn,) = VisibleTag(size)([frame])
    assert (frame == ground).all() and drawn.shape == frame.shape and drawn.dtype == np.uint8
    return frame, drawn


@pytest.mark.parametrize("ground", [0, 128, 255])
@pytest.mark.parametrize("size", [(1920, 1080), (512, 512), (320, 240), (96, 400), (64, 64), (2048, 64)])
def test_it_can_be_read_on_any_ground_and_covers_little(size: tuple[int, int], ground: int) -> None:
    frame, drawn = tagged(size, ground)
    changed = (drawn != frame).any(2)
    rows, columns = np.nonzero(changed)
    left, right, top, bottom = columns.min(), columns.max(), rows.min(), rows.max()
    assert right < 0.85 * size[0] and top > size[1] / 2 and bottom < size[1] and left < size[0] / 4
    assert (bottom - top) < 0.16 * max(64, min(size)) and changed.mean() < (0.06 if min(size) >= 240 else 0.13)
    light = (drawn[top : bottom + 1, left : right + 1].mean(2) / 255) ** 2.2
    letters, plate = np.percentile(light, 99), np.percentile(light, 30)
    # WCAG 2.2, 1.4.3 asks 4.5 of text; what is a few pixels high has no pixel that is letter alone.
    assert (letters + 0.05) / (plate + 0.05) > (4.5 if min(size) >= 240 else 2.5)


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (33, 16)])
def test_the_smallest_pictures_bear_it_too(size: tuple[int, int]) -> None:
    frame, drawn = tagged(size, 200)
    assert (drawn != frame).any() and (drawn == frame).any()


def test_it_scales_with_the_picture() -> None:
    widths = []
    for side in (256, 512, 1024):
        frame, drawn = tagged((side, side), 90)
        widths.append(np.ptp(np.nonzero((drawn != frame).any((0, 2)))[0]))
    assert widths[1] == pytest.approx(2 * widths[0], rel=0.15) and widths[2] == pytest.approx(4 * widths[0], rel=0.15)


def test_every_frame_of_a_clip_and_of_a_stream_has_it(debug_pipe, portraits, voice) -> None:
    plain = debug_pipe.talk(portraits["statue"], voice)
    shown = debug_pipe.talk(portraits["statue"], voice, visible_tag=True)
    assert shown.settings["visible_tag"] and not plain.settings["visible_tag"]
    streamed = debug_pipe.stream(portraits["statue"], voice, visible_tag=True)
    for _, ours, frame, bare in zip(range(3), streamed, shown.frames, plain.frames, strict=False):
        assert (ours == frame).all() and (frame != bare).any()
        assert (frame == next(VisibleTag(plain.size)([bare]))).all()
