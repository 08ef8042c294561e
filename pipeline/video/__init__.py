"""Video files: frames at 25 a second out of any of them, and marked H.264 with sound into MP4."""

from pipeline.video.reader import VideoReader
from pipeline.video.writer import VideoWriter

__all__ = ["VideoReader", "VideoWriter"]
