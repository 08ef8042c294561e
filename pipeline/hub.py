"""Where weights come from: a folder, else a repository on the Hub, else the ones embedded in `weights/`."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import WeightsError

EMBEDDED = Path(__file__).resolve().parent.parent / "weights"
_INDEX = "model_index.json"


@dataclass(frozen=True)
class Weights:
    """A folder of weights, one folder a component, as `model_index.json` lists them."""

    folder: Path
    components: tuple[str, ...]

    def component(self, name: str) -> Path:
        """The folder of a component; one that these weights lack is taken from the embedded ones.

        Raises:
            WeightsError: if neither has it.
        """
        for folder in (self.folder, EMBEDDED):
            if (folder / name).is_dir():
                return folder / name
        raise WeightsError(f"There are no weights for {name!r} in {self.folder}; install the weights again.")


def find_weights(source: str | os.PathLike[str] | None = None, revision: str | None = None) -> Weights:
    """The weights of `source`: a folder, "owner/repo" on the Hub, or None for the embedded ones.

    Raises:
        WeightsError: if there is no such folder, or the repository cannot be fetched.
    """
    folder = EMBEDDED if source is None else Path(source)
    if not folder.is_dir():
        folder = _download(str(source), revision)
    try:
        index = dict(json.loads((folder / _INDEX).read_text()))
        return Weights(folder, tuple(name for name in index if not name.startswith("_")))
    except (OSError, TypeError, ValueError) as error:
        raise WeightsError(f"{folder} holds no readable {_INDEX}; give a folder of weights.") from error


def _download(repository: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["*.json", "**/*.json", "**/*.safetensors"]
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise WeightsError(
            f"The weights {repository!r} are neither a folder nor could they be fetched from the Hub; check the name "
            "and the network, or leave them out to use the embedded ones."
        ) from error
