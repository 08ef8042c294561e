"""A listener's blinks and gaze: the talking driver's schedules (`pipeline.drivers.eyes`), timed by the other's turn.

Listeners blink where the speaker's phrases end (Nakano and Kitazawa 2010), and look at the speaker about twice as
much as speakers look at them (Argyle and Cook 1976: 75 % against 41 % of the time), so fixations on the viewer are
longer here; an unfriendly listener looks away more, which is a rule of ours.
"""

from __future__ import annotations

import numpy as np

from pipeline.coefficients import EXPRESSION_DIM
from pipeline.drivers.eyes import Blinks, Gaze, iris_shift
from pipeline.drivers.liveliness import Liveliness
from pipeline.drivers.prosody import ACTIVITY, PHRASE_END, PROSODY_DIM
from pipeline.drivers.upper_face import LOWER_LIDS, UPPER_LIDS, UpperFace
from pipeline.face.morphable import MorphableModel

_VOICE, _SINCE_PHRASE = 4, 5  # columns of `TurnPlan.conditions`
_ENDED = 0.45  # exp(-s) for 0.8 s after a phrase's end
_ON_SPEAKER = {"positive": 2.6, "neutral": 2.3, "negative": 1.3}  # times as long as a speaker's fixations
_GLANCES = {"positive": 0.9, "neutral": 1.0, "negative": 1.3}
_BLINK_WITH_GAZE = 0.4  # seconds by which a shift of 10° brings a blink nearer
_TEN_DEGREES = np.radians(10)
_MIDDLE = slice(2, 5)  # of the points of a lid's edge


class ListenerEyes:
    """Blinks and gaze of one clip, frame after frame; how many frames are asked at once makes no difference.

    Args:
        liveliness: whose rates and curves are used.
        model: the morphable model.
        identity: (K,) α or None.
        expression: (64,) β of the portrait.
        seed: 0 or more.
        attitude: one of `ATTITUDES`.
    """

    def __init__(
        self,
        liveliness: Liveliness,
        model: MorphableModel,
        identity: np.ndarray | None,
        expression: np.ndarray,
        seed: int,
        attitude: str,
    ) -> None:
        config = liveliness.config
        self._face = UpperFace.of(model, identity, expression)
        heights = model.expression_basis[:, 1].astype(np.float64)
        middles = heights[LOWER_LIDS[:, _MIDDLE]] - heights[UPPER_LIDS[:, _MIDDLE]]
        self._gap = middles.mean((0, 1))  # (64,) how β moves the lids apart
        self._opening = max(float(self._face.opening.mean()), 1e-3)
        self._blinks = Blinks(
            liveliness.blink_curve,
            (config["blink_median"], config["blink_spread"], config["blink_least"]),
            config["blink_eagerness"],
        )
        self._gaze = Gaze(
            (
                config["fixation_viewer"] * _ON_SPEAKER[attitude],
                config["fixation_aside"],
                config["fixation_spread"],
            ),
            (config["glance_degrees"] * _GLANCES[attitude], config["small_degrees"]),
        )
        normals, chances = np.random.SeedSequence([seed, 12]).spawn(2)
        self._normal = np.random.Generator(np.random.Philox(normals))
        self._chance = np.random.Generator(np.random.Philox(chances))

    def __call__(self, turns: np.ndarray, head: np.ndarray, expression: np.ndarray) -> np.ndarray:
        """The next T frames' part of the expression.

        Args:
            turns: (T, TURN_DIM) conditions of the turn plan.
            head: (T, 2) pitch and yaw that the head has turned from the portrait's: the eyes keep their aim.
            expression: (T, 64) by which the face has moved otherwise: narrowed eyes close in less.

        Returns:
            (T, 64) to be added, zero beyond the upper-face coefficients.
        """
        voice = np.zeros((len(turns), PROSODY_DIM))
        voice[:, ACTIVITY] = turns[:, _VOICE]
        voice[:, PHRASE_END] = np.maximum(turns[:, _SINCE_PHRASE] - _ENDED, 0)
        normal, chance = self._normal.standard_normal((len(turns), 5)), self._chance.random((len(turns), 4))
        angles, shifts = self._gaze(voice, normal[:, :2], chance)
        closure = self._blinks(voice, normal[:, 2:], _BLINK_WITH_GAZE * (shifts / _TEN_DEGREES))
        gaze = iris_shift(angles, head) @ self._face.gaze
        gap = 1 + (expression + gaze) @ self._gap / self._opening
        blink = (closure * np.clip(gap, 0.0, 1.8))[:, None] * self._face.blink
        return (blink + gaze).astype(np.float32).reshape(-1, EXPRESSION_DIM)
