"""Sound: reading any file as 16 kHz mono, ViCo's features of each video frame, and voice activity."""
