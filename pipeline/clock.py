"""The one clock of the project: video at 25 frames/s over sound at 16 kHz, so exactly 640 samples a frame."""

FPS = 25
SAMPLE_RATE = 16_000
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS


def frame_count(samples: int) -> int:
    """Frames that cover `samples` samples of 16 kHz sound: `ceil(samples / 640)`."""
    return -(-samples // SAMPLES_PER_FRAME)
