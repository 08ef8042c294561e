"""Tête-à-tête: conversational heads from one portrait.

>>> from pipeline import ConversationalHeadPipeline
>>> pipe = ConversationalHeadPipeline.from_pretrained()
>>> pipe.talk("portrait.jpg", "speech.wav", seed=0).save("out.mp4")

Names are imported when they are first used, so that `import pipeline` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.clip import HeadClip
    from pipeline.coefficients import Coefficients
    from pipeline.conversation import ConversationalHeadPipeline
    from pipeline.errors import Cancelled, InputError

__version__ = "0.1.0"
__all__ = ["Cancelled", "Coefficients", "ConversationalHeadPipeline", "HeadClip", "InputError"]

_HOMES = {
    "Cancelled": "pipeline.errors",
    "Coefficients": "pipeline.coefficients",
    "ConversationalHeadPipeline": "pipeline.conversation",
    "HeadClip": "pipeline.clip",
    "InputError": "pipeline.errors",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
