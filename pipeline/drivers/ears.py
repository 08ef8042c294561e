"""The talking driver's ears: mel spectra to what is being said, as a large recogniser of speech would hear it.

A small convolutional network that was taught to hear what the encoder of a large recogniser hears
(`pipeline.training.ears`), so that lips profit from speech of which there is no video. It sees 0.7 s to either side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from pipeline.drivers.phonetics import MEL_BANDS, STRIDE


class Ears(nn.Module):
    """Residual convolutions over mel spectra.

    Args:
        channels: of every layer.
        hidden: what is handed on of each 20 ms.
        dilations: steps of 20 ms between the taps of each block.
    """

    def __init__(
        self, channels: int = 256, hidden: int = 96, dilations: Sequence[int] = (1, 2, 4, 8, 1, 2, 4, 8, 1, 2)
    ) -> None:
        super().__init__()
        self.sizes: dict[str, Any] = {"channels": channels, "hidden": hidden, "dilations": list(dilations)}
        self.heard_dim = hidden
        self.context = sum(dilations) + 2  # steps on each side that a step depends on
        self.stem = nn.Sequential(
            nn.Conv1d(MEL_BANDS, channels, 5, stride=STRIDE, padding=2), nn.BatchNorm1d(channels), nn.GELU()
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation),
                nn.BatchNorm1d(channels),
                nn.GELU(),
            )
            for dilation in dilations
        )
        self.neck = nn.Conv1d(channels, hidden, 1)

    def heard(self, mel: Tensor) -> Tensor:
        """(B, S / 2, hidden) of mel spectra (B, S, 64) of `phonetics.log_mel`; S is a multiple of 2."""
        x = self.stem(mel.transpose(1, 2))
        for block in self.blocks:
            x = x + block(x)
        return self.neck(x).transpose(1, 2)

    forward = heard
