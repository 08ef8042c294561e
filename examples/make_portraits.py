"""Draw the example portraits: people who never were, so that nobody's face is used without asking.

    python examples/make_portraits.py [NAME ...] [--folder examples/portraits]

Each is a signed distance field (sdf_head.py), ray-marched and lit (sdf_render.py), then finished as a photograph,
an oil painting or a pencil drawing. Same code, same picture: nothing here is random from run to run.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from sdf_head import BOB, BUN, CURLS, SHORT, SWEPT, Head
from sdf_render import Look, render

PORTRAITS = Path(__file__).parent / "portraits"
_SIDE = 768


@dataclass(frozen=True)
class Sitter:
    """One portrait: its file, the shape of the head, its colours and light, and how it is finished."""

    file: str
    head: Head
    look: Look
    finish: str = "photograph"


CAST = (
    Sitter(
        "woman_curls.jpg",
        Head(
            width=0.95, jaw=0.25, chin=0.35, cheek=0.7, brow_ridge=0.2, nose_width=0.75, nose_length=0.4,
            nose_bridge=0.25, lips=0.85, mouth_width=0.29, smile=0.42, folds=0.05, eye_open=0.62, eye_tilt=0.25,
            eye_width=0.172, brow_arch=1.0, brow_weight=0.55, neck=0.34, shoulders=1.1, hair=CURLS,
            hair_volume=0.55, hairline=0.5, earrings=1.0, collar=1,
        ),
        Look(
            skin=(0.150, 0.064, 0.034), lips=(0.150, 0.038, 0.036), hair=(0.016, 0.011, 0.009),
            beard=(0.010, 0.007, 0.006), iris=(0.075, 0.034, 0.014), cloth=(0.62, 0.30, 0.035),
            wall=(0.045, 0.16, 0.17), glow=(0.20, 0.42, 0.41), yaw=0.10, pitch=0.0, key=1.75, rim=1.6, ambient=0.42,
        ),
    ),
    Sitter(
        "man_beard.jpg",
        Head(
            width=1.03, jaw=0.75, chin=0.6, cheek=0.4, brow_ridge=0.75, nose_width=0.6, nose_length=0.7,
            nose_bridge=0.8, lips=0.35, mouth_width=0.285, smile=0.05, folds=0.55, eye_open=0.42, eye_tilt=-0.1,
            brow_arch=0.35, brow_weight=0.85, neck=0.47, shoulders=1.35, hair=SWEPT, hair_volume=0.35, hairline=0.75,
            beard=0.9, moustache=0.9, collar=3,
        ),
        Look(
            skin=(0.56, 0.30, 0.205), lips=(0.42, 0.15, 0.125), hair=(0.15, 0.135, 0.125), beard=(0.19, 0.165, 0.15),
            iris=(0.045, 0.085, 0.12), cloth=(0.035, 0.055, 0.095), wall=(0.055, 0.045, 0.04),
            glow=(0.23, 0.17, 0.12), yaw=-0.16, pitch=0.02, key=1.65, key_x=-0.7, ambient=0.3, rim=1.0,
        ),
        finish="painting",
    ),
    Sitter(
        "woman_spectacles.jpg",
        Head(
            width=0.98, jaw=0.3, chin=0.4, cheek=0.65, brow_ridge=0.12, nose_width=0.5, nose_length=0.3,
            nose_bridge=0.2, lips=0.6, mouth_width=0.28, smile=0.5, folds=0.08, eye_open=0.45, eye_tilt=0.35,
            brow_arch=0.8, brow_weight=0.6, neck=0.34, shoulders=1.08, hair=BOB, hair_volume=0.5, hairline=0.45,
            part=0.2, spectacles=1.0, collar=2,
        ),
        Look(
            skin=(0.64, 0.40, 0.275), lips=(0.50, 0.165, 0.15), hair=(0.018, 0.014, 0.014),
            beard=(0.03, 0.022, 0.018), iris=(0.055, 0.028, 0.014), cloth=(0.42, 0.06, 0.075),
            frame=(0.022, 0.016, 0.014), wall=(0.46, 0.38, 0.30), glow=(0.80, 0.70, 0.56), yaw=-0.06,
            key=1.35, ambient=0.42,
        ),
    ),
    Sitter(
        "man_smiling.jpg",
        Head(
            width=1.0, jaw=0.6, chin=0.55, cheek=0.6, brow_ridge=0.55, nose_width=0.6, nose_length=0.65,
            nose_bridge=0.75, lips=0.6, mouth_width=0.305, smile=0.8, mouth_open=0.42, folds=0.3, eye_open=0.5,
            eye_tilt=0.1, brow_arch=0.55, brow_weight=0.9, neck=0.44, shoulders=1.3, hair=SHORT, hair_volume=0.5,
            hairline=0.5, part=0.25, collar=0,
        ),
        Look(
            skin=(0.40, 0.205, 0.115), lips=(0.33, 0.115, 0.09), hair=(0.02, 0.014, 0.012),
            beard=(0.018, 0.013, 0.011), iris=(0.08, 0.04, 0.018), cloth=(0.62, 0.60, 0.55), stripes=0.0,
            wall=(0.16, 0.22, 0.33), glow=(0.42, 0.52, 0.62), yaw=0.14,
            pitch=-0.02, stubble=0.6, key=1.7, rim=1.5, ambient=0.42,
        ),
    ),
    Sitter(
        "statue.jpg",
        Head(
            width=0.98, jaw=0.5, chin=0.6, cheek=0.4, brow_ridge=0.6, nose_width=0.45, nose_length=0.6,
            nose_bridge=1.0, lips=0.6, mouth_width=0.265, smile=0.0, folds=0.1, eye_open=0.5, eye_tilt=0.1,
            brow_arch=0.4, brow_weight=0.6, neck=0.45, shoulders=1.25, hair=CURLS, hair_volume=0.0, hairline=0.35,
            collar=1,
        ),
        Look(
            skin=(0.66, 0.64, 0.60), lips=(0.66, 0.64, 0.60), hair=(0.62, 0.60, 0.56), beard=(0.66, 0.64, 0.60),
            cloth=(0.62, 0.60, 0.56), wall=(0.03, 0.032, 0.036), glow=(0.10, 0.10, 0.11), yaw=0.24, pitch=0.0,
            stone=1.0, key=1.05, key_x=-0.85, key_y=0.6, ambient=0.16, rim=0.5,
        ),
    ),
    Sitter(
        "drawing.png",
        Head(
            width=0.95, jaw=0.25, chin=0.4, cheek=0.6, brow_ridge=0.2, nose_width=0.4, nose_length=0.45,
            nose_bridge=0.6, lips=0.65, mouth_width=0.275, smile=0.38, folds=0.05, eye_open=0.65, eye_tilt=0.2,
            eye_width=0.172, brow_arch=0.9, brow_weight=0.5, neck=0.33, shoulders=1.05, hair=BUN, hair_volume=0.5,
            hairline=0.55, part=0.3, collar=0,
        ),
        Look(
            skin=(0.74, 0.50, 0.40), lips=(0.50, 0.15, 0.13), hair=(0.20, 0.075, 0.03), beard=(0.14, 0.06, 0.03),
            iris=(0.08, 0.17, 0.10), cloth=(0.10, 0.20, 0.30), wall=(0.7, 0.68, 0.64), glow=(0.9, 0.88, 0.84),
            yaw=0.2, pitch=0.0, freckles=0.5, key=1.3, ambient=0.42,
        ),
        finish="drawing",
    ),
)  # fmt: skip


def photograph(image: np.ndarray) -> np.ndarray:
    """A lens and a sensor: slight bloom, falling light in the corners, fine grain."""
    side = image.shape[0]
    bloom = cv2.GaussianBlur(np.maximum(image - 0.75, 0), (0, 0), side / 60)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    corners = 1 - 0.16 * np.clip(x**2 + y**2 - 0.5, 0, None)[..., None]
    grain = np.random.default_rng(7).normal(0, 0.008, (side, side, 1))
    return (image + 0.5 * bloom) * corners + cv2.GaussianBlur(grain, (0, 0), 0.6)[..., None]


def painting(image: np.ndarray) -> np.ndarray:
    """Oil on canvas: strokes laid along the edges (line integral convolution of noise), and the canvas' weave."""
    side = image.shape[0]
    grey = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2GRAY)
    gx, gy = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    blur = side / 90
    xx, xy, yy = (cv2.GaussianBlur(v, (0, 0), blur) for v in (gx * gx, gx * gy, gy * gy))
    # Where nothing has an edge the brush sweeps slantwise, as a hand does.
    xx, xy = xx + 2e-4, xy + 3e-4
    angle = 0.5 * np.arctan2(2 * xy, xx - yy) + np.pi / 2
    flow = np.stack([np.cos(angle), np.sin(angle)], -1).astype(np.float32)
    bristle = cv2.GaussianBlur(np.random.default_rng(11).normal(0, 1, (side, side)).astype(np.float32), (0, 0), 1.1)
    smooth = cv2.bilateralFilter(image.astype(np.float32), 0, 0.06, side / 240)
    paint = _along(smooth, flow, side // 110)
    ridges = _along(bristle[..., None], flow, side // 64)[..., 0]
    ridges *= 0.016 / max(float(ridges.std()), 1e-6)
    y, x = np.mgrid[0:side, 0:side]
    weave = 0.008 * (np.sin(x * 2.1) * np.sin(y * 2.1))
    levels = cv2.GaussianBlur(paint, (0, 0), 0.8)
    warm = np.clip(levels, 0, 1) ** np.array([0.97, 1.0, 1.06])
    return warm * (1 + ridges[..., None]) + weave[..., None]


def _along(image: np.ndarray, flow: np.ndarray, reach: int) -> np.ndarray:
    """Mean of `image` along the lines of `flow` (H, W, 2), `reach` pixels to both sides."""
    side = image.shape[0]
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    total = image.copy()
    for sign in (1.0, -1.0):
        px, py, last = x.copy(), y.copy(), flow * sign
        for _ in range(reach):
            here = cv2.remap(flow, px, py, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
            here = np.where((here * last).sum(-1, keepdims=True) < 0, -here, here)
            px, py, last = px + here[..., 0], py + here[..., 1], here
            step = cv2.remap(image, px, py, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            total += step.reshape(image.shape)
    return total / (2 * reach + 1)


def drawing(image: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Coloured pencil on paper: outlines where depth or tone breaks, tone as hatching, a wash of colour."""
    side = image.shape[0]
    rng = np.random.default_rng(5)
    grey = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2GRAY)
    figure = cv2.GaussianBlur((depth < depth.max() - 0.05).astype(np.float32), (0, 0), 1.0)
    fine, coarse = cv2.GaussianBlur(grey, (0, 0), side / 900), cv2.GaussianBlur(grey, (0, 0), side / 420)
    lines = np.clip((coarse - fine - 0.006) * 16, 0, 1)
    edge = np.hypot(cv2.Sobel(depth, cv2.CV_32F, 1, 0), cv2.Sobel(depth, cv2.CV_32F, 0, 1))
    outline = cv2.GaussianBlur(np.clip(edge * 1.2 - 0.1, 0, 1), (0, 0), 0.8)
    tooth = cv2.GaussianBlur(rng.normal(0, 1, (side, side)).astype(np.float32), (0, 0), 0.9)
    tooth /= tooth.std()
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    wobble = cv2.GaussianBlur(rng.normal(0, 1, (side, side)).astype(np.float32), (0, 0), 14)
    wobble *= 5 / wobble.std()
    hatch = np.zeros_like(grey)
    for angle, dark in ((0.9, 0.62), (2.2, 0.42), (0.2, 0.25)):
        wave = np.sin((np.cos(angle) * x + np.sin(angle) * y + wobble) * (2 * np.pi / 5.2) + tooth * 0.5)
        hatch += np.clip((dark - grey) * 2.2, 0, 0.6) * np.clip(wave + 0.2, 0, 1)
    pencil = np.clip(0.85 * lines + 0.75 * outline + 0.55 * hatch, 0, 1) * figure
    pencil *= np.clip(0.9 + 0.16 * tooth, 0, 1)
    paper = np.array([0.955, 0.940, 0.905]) * (1 + 0.008 * tooth[..., None])
    wash = cv2.bilateralFilter(image.astype(np.float32), 0, 0.1, side / 150)
    strength = (0.72 * figure * np.clip(0.93 + 0.10 * tooth, 0, 1))[..., None]
    base = paper * (1 - strength) + (0.10 + 0.90 * wash) * paper * strength
    graphite = np.array([0.17, 0.15, 0.16])
    return base * (1 - pencil[..., None]) + graphite * pencil[..., None]


def draw(sitter: Sitter, side: int = _SIDE, samples: int = 2) -> np.ndarray:
    """The finished portrait (side, side, 3) uint8 RGB."""
    image, depth = render(sitter.head, sitter.look, side, samples)
    if sitter.finish == "painting":
        image = painting(image)
    elif sitter.finish == "drawing":
        image = drawing(image, depth)
    else:
        image = photograph(image)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def main() -> None:
    """Write the portraits named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="file names without their endings; all if none")
    parser.add_argument("--side", type=int, default=_SIDE, help="pixels")
    parser.add_argument("--samples", type=int, default=2, help="rays a pixel along each axis")
    parser.add_argument("--folder", type=Path, default=PORTRAITS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for sitter in CAST:
        if options.names and Path(sitter.file).stem not in options.names:
            continue
        image = draw(sitter, options.side, options.samples)
        quality = [cv2.IMWRITE_JPEG_QUALITY, 94] if sitter.file.endswith(".jpg") else [cv2.IMWRITE_PNG_COMPRESSION, 9]
        cv2.imwrite(str(options.folder / sitter.file), image[..., ::-1], quality)
        print(options.folder / sitter.file)


if __name__ == "__main__":
    main()
