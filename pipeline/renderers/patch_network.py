"""The small network that corrects a patch: teeth, tongue, closing lids and what else the portrait does not show.

It sees the patch as the mesh drew it, the same patch of the portrait, and the openings of lips or lids in both, and
answers with what to add. At half resolution inside, for speed: about 3 ms a mouth on a core.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.network_files import load_network, save_network

INPUT_CHANNELS = 10  # drawn patch, portrait's patch, the frame's two openings, the portrait's two openings


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(functional.relu(self.first(x))))


class PatchNetwork(nn.Module):
    """Corrects patches of one kind.

    Args:
        width: channels at half resolution; twice as many below it.
        blocks: residual blocks at quarter resolution.
    """

    def __init__(self, width: int = 32, blocks: int = 2) -> None:
        super().__init__()
        self.config = {"width": width, "blocks": blocks}
        self.enter = nn.Conv2d(4 * INPUT_CHANNELS, width, 3, padding=1)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.body = nn.Sequential(*(_Residual(2 * width) for _ in range(blocks)))
        self.up = nn.Conv2d(2 * width, 4 * width, 1)
        self.join = nn.Conv2d(2 * width, width, 3, padding=1)
        self.leave = nn.Conv2d(width, 12, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, inputs: Tensor, allowed: Tensor) -> Tensor:
        """Corrected patches (B, 3, h, w), 0..1 and a little beyond.

        Args:
            inputs: (B, 10, h, w) in 0..1, of which the first three channels are the patch as drawn; h and w are
                multiples of 4.
            allowed: (B, 1, h, w) in 0..1, where the patch may change.
        """
        fine = functional.relu(self.enter(functional.pixel_unshuffle(inputs * 2 - 1, 2)))
        coarse = self.body(functional.relu(self.down(fine)))
        joined = torch.cat([fine, functional.pixel_shuffle(self.up(coarse), 2)], 1)
        out = functional.pixel_shuffle(self.leave(functional.relu(self.join(joined))), 2)
        return inputs[:, :3] + allowed * out

    def save(self, folder: str | Path) -> None:
        """Write `model.safetensors` (half precision) and `config.json`."""
        save_network(self, folder, self.config)

    @staticmethod
    def load(folder: str | Path) -> PatchNetwork:
        """Read what `save` wrote, ready to use.

        Raises:
            WeightsError: if files are missing or damaged.
        """
        return load_network(folder, PatchNetwork, "The patch network")
