"""What is known of a shared clip, and how much may be shared."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import ShareError

CLIP = "clip.mp4"
POSTER = "poster.jpg"

# Lower case letters and digits alone: mail programs and chats cut links at a last "-" or "_", and some file systems
# take capital letters for small ones.
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_ID_LENGTH = 26  # of 5 bits each: 130 bits
_ID = re.compile(rf"[{_ALPHABET}]{{{_ID_LENGTH}}}", re.ASCII)
_SECRET_BYTES = 24
_DAY = 86_400


def new_id() -> str:
    """An id of 130 random bits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_ID_LENGTH))


def is_id(text: object) -> bool:
    """Whether `text` has the form of an id; only such text may become part of a path."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def new_secret() -> str:
    """192 random bits, as text."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def hash_of(secret: str) -> str:
    """SHA-256 of a secret; it is random and long, so it needs neither salt nor a slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


@dataclass(frozen=True)
class Share:
    """A clip that was given a link.

    Attributes:
        id: 26 letters and digits that nobody can guess.
        created: seconds since 1970 (UTC).
        expires: seconds since 1970 (UTC), from when on it is gone.
        mode: talk, listen or reenact.
        settings: how the clip was made, as its mark tells: names and plain values.
        size: width and height in pixels.
        seconds: how long it is.
        inputs: what its maker gave along for the editor: file names by parameter (portrait, audio, video); mostly none.
        secret_hash: SHA-256 of the secret that deletes it.
    """

    id: str
    created: int
    expires: int
    mode: str
    settings: dict[str, Any]
    size: tuple[int, int]
    seconds: float
    inputs: dict[str, str]
    secret_hash: str

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files that belong to it."""
        return (CLIP, POSTER, *self.inputs.values())

    def opens_with(self, secret: str) -> bool:
        """Whether `secret` is its maker's; takes the same time whatever it is."""
        return hmac.compare_digest(self.secret_hash, hash_of(secret))

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> Share:
        """Raises: ValueError: if `text` is no record of a share."""
        try:
            value = json.loads(text)
            width, height = value["size"]
            share = Share(**value | {"size": (int(width), int(height))})
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError("This is no record of a shared clip.") from error
        if not is_id(share.id):
            raise ValueError("This record has no usable id.")
        return share


@dataclass(frozen=True)
class Receipt:
    """What the maker of a link gets, once: the share, and the secret that deletes it."""

    share: Share
    secret: str


@dataclass(frozen=True)
class Limits:
    """How much may be shared.

    Attributes:
        megabytes: of one share, clip and inputs together.
        clips: shares in all; 0 switches sharing off.
        days: the longest that a link may live.
        per_hour: shares in an hour by one session.
    """

    megabytes: int = 50
    clips: int = 200
    days: int = 30
    per_hour: int = 10

    @property
    def default_days(self) -> int:
        """A week, or the longest if that is shorter."""
        return min(7, self.days)

    def day_choices(self) -> list[int]:
        """What the page offers."""
        return sorted({days for days in (1, 7, 30) if days < self.days} | {self.days})

    def seconds_of(self, days: int | None) -> int:
        """Raises: ShareError: if `days` is not from 1 to the longest allowed."""
        if days is None:
            days = self.default_days
        if isinstance(days, bool) or not isinstance(days, int) or not 1 <= days <= self.days:
            raise ShareError(f"A link can live from 1 to {self.days} days; choose a whole number of days among these.")
        return days * _DAY

    @staticmethod
    def from_environment(environment: Mapping[str, str] = os.environ) -> Limits:
        """Limits that TETE_SHARE_MAX_MB, TETE_SHARE_MAX_CLIPS, TETE_SHARE_MAX_DAYS and TETE_SHARE_PER_HOUR set.

        Raises:
            ShareError: if one of them is no whole number or below what makes sense.
        """
        names = {"megabytes": "MAX_MB", "clips": "MAX_CLIPS", "days": "MAX_DAYS", "per_hour": "PER_HOUR"}
        found = {}
        for field, suffix in names.items():
            text = environment.get(f"TETE_SHARE_{suffix}", "").strip()
            if text:
                least = 0 if field == "clips" else 1
                if not text.isascii() or not text.isdigit() or int(text) < least:
                    raise ShareError(f"TETE_SHARE_{suffix} is {text!r}; set it to a whole number from {least} on.")
                found[field] = int(text)
        return Limits(**found)
