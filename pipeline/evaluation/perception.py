"""A perceptual distance that needs no weights, and how alike two faces are to a network that knows people.

Learned distances (LPIPS and its like) need networks whose weights are not ours to ship. What they are used for, to
forgive what nobody sees and count what everybody does, is had from complex wavelets: a small shift turns the phases of
all coefficients alike and changes nothing else, while blur, noise and other features change how they stand together.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.errors import WeightsError

FACE_SIDE = 256
EMBEDDER = "dlib_face_recognition_resnet_model_v1"
_SCALES, _ORIENTATIONS = 4, 6
_WINDOW = 7
_UNSEEN = 10.0  # energy of a wave of two grey levels in each picture: nobody sees it
_CHIP, _PADDING = 150, 0.25  # pixels and margin of the faces that the embedder was trained on
_EYES_AND_NOSE = (263, 362, 33, 133, 2)  # its five points: corners of the eyes, outer before inner, and under the nose
_INSTALL = (
    "Identity similarity needs the packages dlib and face_recognition_models; install them with "
    "`pip install dlib-bin face_recognition_models`."
)


def perceptual_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Distance of two aligned faces: one minus the complex-wavelet structural similarity (CW-SSIM) of their luma.

    Of 4 octaves × 6 orientations of one-sided (analytic) bands, raised cosines in log frequency and in angle; each
    band's similarity `(2 |Σ x y*| + K) / (Σ |x|² + Σ |y|² + K)` over windows of 7 × 7 is averaged, and then that of
    all bands. K is 10. The lowest frequencies are left out, so that even light counts for little.

    Args:
        a: (S, S, 3) uint8, S a multiple of 64: `FACE_SIDE` for figures that compare.
        b: the same shape.

    Returns:
        0 for equal pictures to 1. On real faces at 256 × 256, about 0.01 for a shift by one pixel or a blur of sigma
        0.9, 0.07 for a blur of sigma 2, 0.2 for the same person a second later, 0.4 for another person.

    Raises:
        ValueError: if the shapes differ or are not such squares.

    Source: Sampat 2009, "Complex wavelet structural similarity: a new image similarity index", eq. 6; its steerable
    pyramid is replaced by bands of the same kind.
    """
    if a.shape != b.shape or a.shape[0] != a.shape[1] or a.shape[0] % 64:
        raise ValueError(f"CW-SSIM takes two squares whose side is a multiple of 64, not {a.shape} and {b.shape}.")
    from scipy import fft

    spectra = [fft.fft2(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)) for picture in (a, b)]
    side = a.shape[0]
    similar = []
    for scale, bands in enumerate(_bands(side)):
        small = side >> scale
        parts = [_low(spectrum, small) / (1 << 2 * scale) for spectrum in spectra]
        for band in bands:
            x, y = (fft.ifft2(part * band) for part in parts)
            product = x * np.conj(y)
            together = np.hypot(_sum(product.real), _sum(product.imag))
            energy = _sum(x.real**2 + x.imag**2 + y.real**2 + y.imag**2)
            similar.append(float(((2 * together + _UNSEEN) / (energy + _UNSEEN)).mean(dtype=np.float64)))
    return max(0.0, 1 - float(np.mean(similar)))


class IdentityEmbedder:
    """Describes faces such that those of one person lie together: dlib's ResNet of 29 layers.

    The network is `dlib_face_recognition_resnet_model_v1` of the package face_recognition_models (by D. King, public
    domain), read by dlib's own format. For measuring only: nothing that is shipped or trained depends on it.

    Raises:
        WeightsError: if its packages are not installed; the text says how to.
    """

    def __init__(self) -> None:
        try:
            dlib = importlib.import_module("dlib")  # by name: it is for those who have it, no requirement
            folder = importlib.util.find_spec("face_recognition_models").submodule_search_locations[0]
            self._dlib: Any = dlib
            # The package itself is not imported: it wants an old setuptools, and only its file is needed.
            self._network = dlib.face_recognition_model_v1(str(Path(folder) / "models" / f"{EMBEDDER}.dat"))
        except (ImportError, AttributeError, TypeError, IndexError, RuntimeError) as error:
            raise WeightsError(_INSTALL) from error

    def __call__(self, frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """(128,) float64 of the face with landmarks (478, 2 or more) in a frame (H, W, 3) uint8."""
        points = [self._dlib.point(*(round(float(x)) for x in landmarks[index, :2])) for index in _EYES_AND_NOSE]
        around = self._dlib.rectangle(0, 0, frame.shape[1] - 1, frame.shape[0] - 1)
        found = self._dlib.full_object_detection(around, points)
        chip = self._dlib.get_face_chip(np.ascontiguousarray(frame), found, _CHIP, _PADDING)
        return np.array(self._network.compute_face_descriptor(chip))


def identity_similarity(a: np.ndarray, b: np.ndarray) -> float:
    """One minus the distance of two faces' descriptors: 1 for the same picture, under 0.4 for different people.

    Args:
        a: (128,) of `IdentityEmbedder`.
        b: the same.

    Source: the embedder's own rule that distances from 0.6 on part people (99.38 % right on LFW).
    """
    return 1 - float(np.linalg.norm(a - b))


@lru_cache(maxsize=4)
def _bands(side: int) -> tuple[tuple[np.ndarray, ...], ...]:
    """For each octave, fine to coarse, its orientations' filters over the frequencies that it holds."""
    octaves = []
    for scale in range(_SCALES):
        step = np.fft.fftfreq(side >> scale) / (1 << scale)
        x, y = np.meshgrid(step, step)
        radius = np.hypot(x, y)
        octave = np.log2(np.maximum(radius, 1e-9) * (4 << scale))
        radial = np.where(np.abs(octave) < 1, np.cos(np.pi / 2 * octave), 0)
        bands = []
        for orientation in range(_ORIENTATIONS):
            angle = np.angle(np.exp(1j * (np.arctan2(y, x) - np.pi * orientation / _ORIENTATIONS)))
            around = np.where(np.abs(angle) < np.pi / 2, np.cos(angle) ** (_ORIENTATIONS - 1), 0)
            bands.append((2 * radial * around).astype(np.float32))
        octaves.append(tuple(bands))
    return tuple(octaves)


def _low(spectrum: np.ndarray, side: int) -> np.ndarray:
    """The lowest frequencies of a spectrum: that of the picture at `side` × `side`."""
    half = side // 2
    keep = np.r_[:half, -half:0]
    return spectrum[np.ix_(keep, keep)]


def _sum(values: np.ndarray) -> np.ndarray:
    """Means over windows."""
    return cv2.blur(values, (_WINDOW, _WINDOW))
