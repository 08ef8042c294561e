"""Foreign checkpoints made ours: `python -m pipeline convert NAME CHECKPOINT FOLDER`, run once.

A converter compares a checkpoint with the network that is to take it, key by key, and writes a folder of weights (in
safetensors, with a card) only if every parameter is there in the right shape. Checkpoints come as pickles; they are
read by torch's own restricted reader, which builds tensors and plain containers and runs no code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError, OutputError, WeightsError
from pipeline.hub import INDEX

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.postprocess.gfpgan import Gfpgan
    from pipeline.renderers.pirenderer import PIRendererNetwork

_MOST_HALF = 65504.0  # what half precision holds
CONVERTERS = {"gfpgan": "pipeline.converters.gfpgan", "pirenderer": "pipeline.converters.pirenderer"}


@dataclass(frozen=True)
class Conversion:
    """How a checkpoint's keys fit a network's.

    Attributes:
        converted: names that both have, in the same shape.
        missing: names that the network needs and the checkpoint lacks.
        unexpected: names that the checkpoint has and the network does not; they are left out.
        mismatched: for each name in another shape than needed: the shape found and the shape wanted.
        folder: what was written; None if the checkpoint does not fit.
    """

    converted: tuple[str, ...]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def fits(self) -> bool:
        """Whether the network gets every parameter that it needs."""
        return not self.missing and not self.mismatched

    def lines(self) -> list[str]:
        """The report, a line for each key that is not simply converted, and a sum."""
        rows = [f"missing     {name}" for name in self.missing]
        rows += [f"unexpected  {name}" for name in self.unexpected]
        rows += [f"shape       {name}: {found}, wanted {wanted}" for name, (found, wanted) in self.mismatched.items()]
        counts = (
            f"{len(self.missing)} missing, {len(self.unexpected)} unexpected, {len(self.mismatched)} of wrong shape"
        )
        return [*rows, f"{len(self.converted)} converted, {counts}"]

    def to_dict(self) -> dict[str, object]:
        """For `json.dumps`."""
        return {
            "converted": len(self.converted),
            "missing": list(self.missing),
            "unexpected": list(self.unexpected),
            "mismatched": {
                name: {"found": found, "wanted": wanted} for name, (found, wanted) in self.mismatched.items()
            },
            "folder": None if self.folder is None else str(self.folder),
        }


def convert(name: str, source: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Conversion:
    """Convert a checkpoint into a folder of weights, for `from_pretrained` or `--weights`.

    Args:
        name: a key of `CONVERTERS`.
        source: the checkpoint's file.
        folder: written if the checkpoint fits; a folder of weights that is there already gets one component more.

    Raises:
        InputError: if there is no such converter.
        WeightsError: if the checkpoint cannot be read. One that does not fit is reported, not raised.
        OutputError: if the folder cannot be written.
    """
    if name not in CONVERTERS:
        raise InputError(f"There is no converter {name!r}; choose one of: {', '.join(CONVERTERS)}.")
    return import_module(CONVERTERS[name]).convert(Path(source), Path(folder))


def read_checkpoint(path: Path, keys: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """The tensors of a PyTorch checkpoint by name, on the processor.

    Args:
        path: a file that `torch.save` wrote.
        keys: where the tensors may be within it, the best first; else they are taken from its top.

    Raises:
        WeightsError: if it cannot be read, or holds anything but tensors and plain containers.
    """
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(f"There is no file {path}; give the checkpoint that you downloaded.") from error
    except Exception as error:  # damaged files fail inside torch in any way they like
        raise WeightsError(
            f"{path} cannot be read as a checkpoint of tensors alone; download it again from its publisher."
        ) from error
    for key in keys:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    tensors = (
        {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
        if isinstance(content, Mapping)
        else {}
    )
    if not tensors:
        raise WeightsError(f"{path} holds no tensors by name; give a checkpoint of the network.")
    return tensors


def compare(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Conversion:
    """How the tensors found fit those wanted, by name and shape."""
    shapes = {name: (tuple(found[name].shape), tuple(value.shape)) for name, value in wanted.items() if name in found}
    return Conversion(
        converted=tuple(name for name, (ours, theirs) in shapes.items() if ours == theirs),
        missing=tuple(name for name in wanted if name not in found),
        unexpected=tuple(name for name in found if name not in wanted),
        mismatched={name: pair for name, pair in shapes.items() if pair[0] != pair[1]},
    )


def write_component(
    network: Gfpgan | PIRendererNetwork,
    state: Mapping[str, Tensor],
    result: Conversion,
    source: Path,
    folder: Path,
    name: str,
    card: str,
) -> Conversion:
    """Fill a network with a checkpoint that fits, and write it as `folder/name`, listed in `folder/model_index.json`.

    Args:
        network: on the meta device; takes the tensors as they are.
        state: the checkpoint's tensors.
        result: how they fit.
        source: the checkpoint, to name in errors and in the card.
        folder: of weights.
        name: of the component.
        card: the model card, with a place for `{name}` of the checkpoint.

    Raises:
        WeightsError: if a value is not finite or too large for half precision.
        OutputError: if the folder cannot be written.
    """
    kept = {key: state[key].float() for key in result.converted}
    if not all(value.abs().max() <= _MOST_HALF for value in kept.values()):  # false for NaN too
        raise WeightsError(f"{source} holds values that are no numbers or too large; download it again.")
    network.load_state_dict(kept, strict=True, assign=True)
    try:
        network.save(folder / name)
        (folder / name / "README.md").write_text(card.format(name=source.name), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder} cannot be written; choose another place.") from error
    add_to_index(folder, name, type(network).__module__, type(network).__name__)
    return replace(result, folder=folder)


def add_to_index(folder: Path, name: str, home: str, kind: str) -> None:
    """List a component in the folder's `model_index.json`, which is made if it is not there.

    Raises:
        OutputError: if it cannot be written or is not such an index.
    """
    path = folder / INDEX
    try:
        index = dict(json.loads(path.read_text())) if path.exists() else {"_class_name": "ConversationalHeadPipeline"}
        path.write_text(json.dumps(index | {name: [home, kind]}, indent=2) + "\n")
    except (OSError, TypeError, ValueError) as error:
        raise OutputError(f"{path} cannot be written; give a new folder or one of weights.") from error
