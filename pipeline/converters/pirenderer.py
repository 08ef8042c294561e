"""PIRenderer's published checkpoint as a component `pirenderer`.

It is driven by the Basel model's coefficients: solve the bridge to them afterwards, see `pipeline.renderers.basel`.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.converters import Conversion, compare, read_checkpoint, write_component
from pipeline.renderers.pirenderer import PIRendererNetwork
from pipeline.renderers.pirenderer_networks import PIRendererConfig

PUBLISHED = PIRendererConfig(basis="basel", plain_blocks=False)
_KEYS = ("net_G_ema", "net_G")  # the averaged parameters, which its authors use, before those of the last step
_WRAPPED = "module."  # what training on several GPUs puts before every name
_CARD = """# PIRenderer

Paints a portrait's frames from coefficients (`pipeline/renderers/pirenderer.py`). Converted from `{name}`; the
networks' parameters are its authors', rounded to half precision.

## Data

Trained by its authors on VoxCeleb's videos of people talking (Ren 2021, "PIRenderer: Controllable Portrait Image
Generation via Semantic Neural Rendering"). Nothing of ours.

## Intended use

To let a portrait speak or listen with the consent of the person it shows, marked as generated, for research.

## Limits

256 pixels; heads much turned, hands and patterned backgrounds smear. It needs the Basel model, which every user has to
ask the University of Basel for, to be driven by our coefficients.

## Licence

Its authors name no licence for code or weights, and VoxCeleb's videos belong to others: for research and non-commercial
use only, and ask them before you do more.
"""


def convert(source: Path, folder: Path, config: PIRendererConfig = PUBLISHED) -> Conversion:
    """Write `folder/pirenderer` and list it in `folder/model_index.json`, if the checkpoint fits.

    Args:
        source: such as epoch_00190_iteration_000400000_checkpoint.pt.
        folder: of weights.
        config: of the networks; by default the published one.

    Raises:
        WeightsError: if the checkpoint cannot be read, or holds values that are not finite.
        OutputError: if the folder cannot be written.
    """
    import torch

    state = read_checkpoint(source, _KEYS)
    if all(name.startswith(_WRAPPED) for name in state):
        state = {name.removeprefix(_WRAPPED): value for name, value in state.items()}
    with torch.device("meta"):
        network = PIRendererNetwork(config)
    result = compare(state, network.state_dict())
    if not result.fits:
        return result
    return write_component(network, state, result, source, folder, "pirenderer", _CARD)
