"""A training's state on disk: what it needs to go on at the step where it stopped, as safetensors and one JSON file.

Chance and the order of the data need no place in it: both follow from the seed and the step (`renderer_training`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import nn

_STATE, _PART, _OLD = "state", "state.part", "state.old"
_FACTS = "state.json"


def has_state(run: Path) -> bool:
    """Whether a training in this folder can go on."""
    return any((run / name / _FACTS).is_file() for name in (_STATE, _OLD))


def save_state(
    run: Path,
    facts: Mapping[str, Any],
    modules: Mapping[str, nn.Module],
    optimisers: Mapping[str, torch.optim.Optimizer],
) -> None:
    """Write the state into a training's folder; the one before is gone only when this one is whole.

    Args:
        run: the training's folder.
        facts: numbers and text: the step, the settings.
        modules: whose parameters and buffers are kept, in full precision.
        optimisers: whose moments are kept.
    """
    from safetensors.torch import save_file

    part = run / _PART
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name, module in modules.items():
        tensors = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
        save_file(tensors, str(part / f"{name}.safetensors"))
    for name, optimiser in optimisers.items():
        moments = {
            f"{index}.{key}": value.detach().cpu().contiguous()
            for index, state in optimiser.state_dict()["state"].items()
            for key, value in state.items()
        }
        save_file(moments, str(part / f"optimiser_{name}.safetensors"))
    (part / _FACTS).write_text(json.dumps(dict(facts), indent=2) + "\n", encoding="utf-8")
    old, now = run / _OLD, run / _STATE
    if now.exists():
        shutil.rmtree(old, ignore_errors=True)
        now.rename(old)
    part.rename(now)
    shutil.rmtree(old, ignore_errors=True)


def load_state(
    run: Path, modules: Mapping[str, nn.Module], optimisers: Mapping[str, torch.optim.Optimizer]
) -> dict[str, Any]:
    """Bring modules and optimisers back to what `save_state` wrote; the facts.

    Raises:
        InputError: if there is no state, or it is damaged or of other networks.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = next((run / name for name in (_STATE, _OLD) if (run / name / _FACTS).is_file()), None)
    if folder is None:
        raise InputError(f"{run} holds no training that can go on; start it without --resume.")
    try:
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        for name, module in modules.items():
            module.load_state_dict(load_file(str(folder / f"{name}.safetensors")), strict=True)
        for name, optimiser in optimisers.items():
            moments: dict[int, dict[str, torch.Tensor]] = {}
            for key, value in load_file(str(folder / f"optimiser_{name}.safetensors")).items():
                index, _, moment = key.partition(".")
                moments.setdefault(int(index), {})[moment] = value
            groups = optimiser.state_dict()["param_groups"]
            optimiser.load_state_dict({"state": moments, "param_groups": groups})
    except (OSError, SafetensorError, RuntimeError, ValueError, KeyError) as error:
        raise InputError(f"The training in {run} is damaged or of another network; start it anew.") from error
    return facts
