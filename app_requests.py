"""What callers may ask for: each function checks its inputs and returns how to start; names and types are the API's."""

from __future__ import annotations

from app_jobs import Order
from pipeline.errors import InputError


def talk(
    portrait: str | None,
    audio: str | None,
    seed: int = 0,
    expression_scale: float = 1.0,
    motion_scale: float = 1.0,
    size: int = 0,
    restore: str = "none",
    visible_tag: bool = False,
    consent: bool = False,
) -> Order:
    """Make a portrait speak a recording: lips, blinks, gaze and head follow the voice.

    Args:
        portrait: a picture with a face at least 64 pixels high; the largest face is used.
        audio: speech in any common sound file; the clip is as long as it.
        seed: 0 to 2147483647, varies blinks and head movement; the same seed gives the same clip.
        expression_scale: strength of the face's movement, 0 to 2; 1 is natural.
        motion_scale: strength of the head's movement, 0 to 2; 1 is natural.
        size: longer side of the clip in pixels, 64 to 2048; 0 keeps the portrait's size.
        restore: detail lays the portrait's own fine detail into each frame; gfpgan restores each face, if its weights
            are there (else the answer says how to get them); none leaves frames as drawn.
        visible_tag: true draws "AI-generated" into a corner of every frame.
        consent: true if you may use this face and voice; refused otherwise.

    Returns:
        The clip: an MP4 file (H.264 and AAC) that carries the recording as its sound.
    """
    require(portrait, "Add a portrait first: a picture with one clear face.")
    require(audio, "Add a voice first: upload a recording or use the microphone.")
    require(consent, 'Please confirm "I may use this face and voice" (consent) before making a clip.')
    return Order(
        "talk",
        {"portrait": portrait, "audio": audio},
        {
            "seed": int(seed or 0),
            "expression_scale": expression_scale,
            "motion_scale": motion_scale,
            "size": size or None,
            "restore": restore,
            "visible_tag": bool(visible_tag),
        },
    )


def listen(
    portrait: str | None,
    audio: str | None = None,
    attitude: str = "neutral",
    speaker_video: str | None = None,
    seed: int = 0,
    attitude_scale: float = 1.0,
    expression_scale: float = 1.0,
    motion_scale: float = 1.0,
    layout: str = "listener",
    size: int = 0,
    restore: str = "none",
    visible_tag: bool = False,
    consent: bool = False,
) -> Order:
    """Make a portrait listen to a speaker: it nods, smiles or frowns at fitting moments, looks and blinks.

    Args:
        portrait: a picture with a face at least 64 pixels high; the largest face is used.
        audio: what the speaker says, in any common sound file; the clip is as long as it. May be left out if
            speaker_video has sound.
        attitude: positive, neutral or negative: how the listener takes what it hears.
        speaker_video: a video of the speaker, whose face is watched too; needed for the layout side-by-side.
        seed: 0 to 2147483647, chooses one of many fitting reactions; the same seed gives the same clip.
        attitude_scale: how plainly the attitude shows, 0 to 2; 1 is natural.
        expression_scale: strength of the face's movement, 0 to 2; 1 is natural.
        motion_scale: strength of the head's movement, 0 to 2; 1 is natural.
        layout: listener for the listener alone, side-by-side for the speaker's video beside it.
        size: longer side of the listener's picture in pixels, 64 to 2048; 0 keeps the portrait's size.
        restore: detail lays the portrait's own fine detail into each frame; gfpgan restores each face, if its weights
            are there (else the answer says how to get them); none leaves frames as drawn.
        visible_tag: true draws "AI-generated" into a corner of every frame.
        consent: true if you may use this face and voice; refused otherwise.

    Returns:
        The clip: an MP4 file (H.264 and AAC) that carries the speaker's sound.
    """
    require(portrait, "Add a portrait first: a picture with one clear face.")
    require(audio or speaker_video, "Add a speaker first: a recording, the microphone, or a video.")
    require(consent, 'Please confirm "I may use this face and voice" (consent) before making a clip.')
    return Order(
        "listen",
        {"portrait": portrait, "audio": audio, "speaker_video": speaker_video},
        {
            "attitude": attitude,
            "seed": int(seed or 0),
            "attitude_scale": attitude_scale,
            "expression_scale": expression_scale,
            "motion_scale": motion_scale,
            "layout": layout,
            "size": size or None,
            "restore": restore,
            "visible_tag": bool(visible_tag),
        },
    )


def reenact(
    portrait: str | None,
    video: str | None,
    relative: bool = True,
    expression_scale: float = 1.0,
    motion_scale: float = 1.0,
    size: int = 0,
    restore: str = "none",
    visible_tag: bool = False,
    consent: bool = False,
) -> Order:
    """Make a portrait follow the face of a driving video: its expression, gaze and head movement.

    Args:
        portrait: a picture with a face at least 64 pixels high; the largest face is used.
        video: a video with one face in view; the clip is as long as it and carries its sound.
        relative: true moves the portrait from its own expression by what changes in the video, which keeps
            its identity; false takes the video's expression as it is, for a video of the same person.
        expression_scale: strength of the face's movement, 0 to 2; 1 is the video's own.
        motion_scale: strength of the head's movement, 0 to 2; 1 is the video's own.
        size: longer side of the clip in pixels, 64 to 2048; 0 keeps the portrait's size.
        restore: detail lays the portrait's own fine detail into each frame; gfpgan restores each face, if its weights
            are there (else the answer says how to get them); none leaves frames as drawn.
        visible_tag: true draws "AI-generated" into a corner of every frame.
        consent: true if you may use this face and this video; refused otherwise.

    Returns:
        The clip: an MP4 file (H.264 and AAC).
    """
    require(portrait, "Add a portrait first: a picture with one clear face.")
    require(video, "Add a driving video first: a clip of one face in view.")
    require(consent, 'Please confirm "I may use this face and video" (consent) before making a clip.')
    return Order(
        "reenact",
        {"portrait": portrait, "video": video},
        {
            "relative": relative,
            "expression_scale": expression_scale,
            "motion_scale": motion_scale,
            "size": size or None,
            "restore": restore,
            "visible_tag": bool(visible_tag),
        },
    )


def require(value: object, sentence: str) -> None:
    """Raises: InputError: with `sentence`, if `value` is missing or false."""
    if not value:
        raise InputError(sentence)
