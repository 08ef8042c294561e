"""Where an installation keeps what is its own: a folder of the user's, on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_NAME = "tete-a-tete"


def data_folder() -> Path:
    """The folder for what must outlive a run; it may not exist yet.

    `TETE_DATA` names it; otherwise it is where the system keeps such things (XDG_DATA_HOME or ~/.local/share on
    Linux, ~/Library/Application Support on macOS, %LOCALAPPDATA% on Windows).
    """
    named = os.environ.get("TETE_DATA")
    if named:
        return Path(named).expanduser()
    if sys.platform == "darwin":
        return Path("~/Library/Application Support").expanduser() / _NAME
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / _NAME
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / _NAME
