"""GFPGAN's published checkpoint (versions 1.2, 1.3 and 1.4, all of one architecture) as a component `gfpgan`."""

from __future__ import annotations

from pathlib import Path

from pipeline.converters import Conversion, compare, read_checkpoint, write_component
from pipeline.postprocess.gfpgan import Gfpgan, GfpganConfig

_KEYS = ("params_ema", "params")  # the averaged parameters, which its authors use, before those of the last step
_CARD = """# GFPGAN

Restores faces (`pipeline/postprocess/gfpgan.py`). Converted from `{name}` by `python -m pipeline convert gfpgan`; the
network's parameters are its authors', rounded to half precision.

## Data

Trained by its authors on FFHQ's 70,000 pictures of faces, degraded by code; its generator is a StyleGAN2 of the same
faces (Wang 2021, "Towards Real-World Blind Face Restoration with Generative Facial Prior"). Nothing of ours.

## Intended use

`--restore gfpgan`: detail for faces that are small, compressed or blurred.

## Limits

It paints likely detail, not true detail: skin, teeth and eyes come out as FFHQ's people have them, which is not
everybody, and painted or drawn faces turn photographic. On a processor it takes seconds a frame.

## Licence

Its authors give code and weights under the Apache licence 2.0, and name as parts of it StyleGAN2 (NVIDIA's licence: for
research and evaluation, non-commercial) and DFDNet (CC BY-NC-SA 4.0). So: for research and non-commercial use only.
"""


def convert(source: Path, folder: Path, config: GfpganConfig | None = None) -> Conversion:
    """Write `folder/gfpgan` and list it in `folder/model_index.json`, if the checkpoint fits.

    Args:
        source: such as GFPGANv1.4.pth.
        folder: of weights.
        config: of the network; by default the published one.

    Raises:
        WeightsError: if the checkpoint cannot be read, or holds values that are not finite.
        OutputError: if the folder cannot be written.
    """
    import torch

    state = read_checkpoint(source, _KEYS)
    with torch.device("meta"):
        network = Gfpgan(config)
    result = compare(state, network.state_dict())
    if not result.fits:
        return result
    return write_component(network, state, result, source, folder, "gfpgan", _CARD)
