"""A network's two files: `model.safetensors`, in half precision, and `config.json` with what it is built from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.errors import WeightsError

if TYPE_CHECKING:
    from torch import nn

Network = TypeVar("Network", bound="nn.Module")


def save_network(network: nn.Module, folder: str | Path, config: Mapping[str, Any]) -> None:
    """Write both files into `folder`, which is made if need be; the class's name goes into the config."""
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().half().cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(state, str(folder / "model.safetensors"))
    told = {"_class_name": type(network).__name__, **config}
    (folder / "config.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def load_network(folder: str | Path, build: Callable[..., Network], name: str) -> Network:
    """Read what `save_network` wrote, ready to use, in single precision on the processor.

    Args:
        folder: holds the files.
        build: makes the network from the config's values, on the meta device if it likes.
        name: what the weights are called in an error, with a capital.

    Raises:
        WeightsError: if files are missing, damaged or of another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config.pop("_class_name")
        network = build(**config)
        state = {key: value.float() for key, value in load_file(str(folder / "model.safetensors")).items()}
        network.load_state_dict(state, strict=True, assign=True)
    except (OSError, SafetensorError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{name} in {folder} cannot be read; install the weights again.") from error
    return network.eval().requires_grad_(False)
