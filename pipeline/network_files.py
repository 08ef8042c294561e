"""A component's two files: `model.safetensors` with its numbers and `config.json` with what it is built from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.errors import WeightsError

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

Network = TypeVar("Network", bound="nn.Module")
Made = TypeVar("Made")


REMEDY = "install the weights again"


def save_network(network: nn.Module, folder: str | Path, config: Mapping[str, Any]) -> None:
    """Write both files into `folder`, which is made if need be; the class's name goes into the config.

    Numbers are written in half precision. What a network merely counts (integer buffers, such as the batches that a
    normalisation has seen) is left out: it is of use in training alone.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = network.state_dict().items()
    halves = {name: value.detach().half().cpu().contiguous() for name, value in state if value.is_floating_point()}
    save_file(halves, str(folder / "model.safetensors"))
    _write_config(folder, type(network).__name__, config)


def load_network(
    folder: str | Path, build: Callable[..., Network], name: str, remedy: str = REMEDY, kind: str | None = None
) -> Network:
    """Read what `save_network` wrote, ready to use, in single precision on the processor.

    Args:
        folder: holds the files.
        build: makes the network from the config's values, on the meta device if it likes; integer buffers stay as it
            makes them.
        name: what the weights are called in an error, with a capital.
        remedy: what the error tells the user to do.
        kind: the class that the files must say they are of; None takes any.

    Raises:
        WeightsError: if files are missing, damaged or of another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        network = build(**_read_config(folder, kind))
        own = network.state_dict()
        state = load_file(str(folder / "model.safetensors"))
        state = {key: value.to(own[key].dtype) if key in own else value for key, value in state.items()}
        missing, unknown = network.load_state_dict(state, strict=False, assign=True)
        if unknown or any(own[key].is_floating_point() or own[key].is_meta for key in missing):
            raise ValueError("the files are of another network")
    except (OSError, SafetensorError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{name} in {folder} cannot be read; {remedy}.") from error
    return network.eval().requires_grad_(False)


def save_arrays(
    folder: str | Path, kind: str, arrays: Mapping[str, np.ndarray], config: Mapping[str, Any], dtype: str = "float32"
) -> None:
    """Write arrays, all of one type, and a config with the name of a class into `folder`, which is made if need be."""
    import numpy as np
    from safetensors.numpy import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = {name: np.ascontiguousarray(array, dtype) for name, array in arrays.items()}
    save_file(written, str(folder / "model.safetensors"))
    _write_config(folder, kind, config)


def load_arrays(
    folder: str | Path, kind: str, build: Callable[[dict[str, np.ndarray], dict[str, Any]], Made], name: str
) -> Made:
    """Read what `save_arrays` wrote.

    Args:
        folder: holds the files.
        kind: the class that the files must say they are of.
        build: makes the component of the arrays (float32) and the config.
        name: what the weights are called in an error, with a capital.

    Raises:
        WeightsError: if files are missing, damaged or of another component.
    """
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder = Path(folder)
    try:
        config = _read_config(folder, kind)
        loaded = load_file(str(folder / "model.safetensors"))
        return build({key: array.astype(np.float32) for key, array in loaded.items()}, config)
    except (OSError, SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{name} in {folder} cannot be read; {REMEDY}.") from error


def _write_config(folder: Path, kind: str, config: Mapping[str, Any]) -> None:
    text = json.dumps({"_class_name": kind, **config}, indent=2)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def _read_config(folder: Path, kind: str | None) -> dict[str, Any]:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    said = config.pop("_class_name")
    if kind is not None and said != kind:
        raise ValueError("the files are of another component")
    return config
