"""What a user can get wrong, as exceptions whose text is one sentence: what is wrong and what to do.

The page shows the sentence as `gr.Error`, the command line prints it and exits with 2, and Python code
catches `InputError` (a `ValueError`) or one of its kinds.
"""


class InputError(ValueError):
    """Something the user gave cannot be used; the message says what and what to do instead."""


class PortraitError(InputError):
    """The reference image cannot be read, or holds no usable face."""


class AudioError(InputError):
    """The driving audio cannot be read, or holds no usable sound."""


class VideoError(InputError):
    """The driving video cannot be read, or holds no usable face."""


class OutputError(InputError):
    """The result cannot be written where it was asked for."""


class ManifestError(InputError):
    """The manifest of a batch cannot be read, or a row of it cannot be made as it stands."""


class WeightsError(InputError):
    """Weights are missing, damaged or made for another component."""


class ShareError(InputError):
    """A clip cannot be shared, or a link cannot be found or deleted."""


class Cancelled(Exception):
    """The caller's progress callback asked to stop; no output is left behind."""
