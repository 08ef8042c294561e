"""Make the example videos with the project itself: drawn portraits that say example speech.

    python examples/make_videos.py [--folder examples/driving]

They are speakers to listen to, and faces to follow.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent
sys.path.append(str(EXAMPLES.parent))

from pipeline import ConversationalHeadPipeline  # noqa: E402

VIDEOS = {
    "man_pausing.mp4": ("man_smiling.jpg", "pause_awb.ogg"),
    "woman_asking.mp4": ("woman_spectacles.jpg", "question_slt.flac"),
}
SIDE = 320


def main() -> None:
    """Write all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=EXAMPLES / "driving")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    pipe = ConversationalHeadPipeline.from_pretrained()
    for name, (portrait, speech) in VIDEOS.items():
        clip = pipe.talk(EXAMPLES / "portraits" / portrait, EXAMPLES / "speech" / speech, seed=1, size=SIDE)
        clip.save(folder / name)


if __name__ == "__main__":
    main()
