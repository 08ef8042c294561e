"""What the speaker says, word by word on the clip's clock, as vectors of meaning where there are any."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Word:
    """A word, from the frame in which it begins to the one in which it has ended."""

    text: str
    start: int
    stop: int


@dataclass(frozen=True)
class WordTrack:
    """Words in order and, where a language model gave them, their vectors.

    Attributes:
        words: in order of time; they don't overlap.
        vectors: (len(words), D) float32, or None: then the words' meaning is masked.
    """

    words: tuple[Word, ...] = ()
    vectors: np.ndarray | None = None

    @staticmethod
    def nothing() -> WordTrack:
        """No words known: everything is masked."""
        return WordTrack()

    def rows(self, start: int, stop: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
        """Vectors (stop - start, dim) float32 of the words said in frames `start` to `stop`, and where (T,) they hold.

        Raises:
            ValueError: if the vectors have another length than `dim`.
        """
        vectors, mask = np.zeros((stop - start, dim), np.float32), np.zeros(stop - start, bool)
        if self.vectors is None:
            return vectors, mask
        if self.vectors.shape != (len(self.words), dim):
            raise ValueError(f"The words' vectors must be ({len(self.words)}, {dim}), not {self.vectors.shape}.")
        for word, vector in zip(self.words, self.vectors, strict=True):
            span = slice(max(word.start, start) - start, max(min(word.stop, stop) - start, 0))
            vectors[span], mask[span] = vector, True
        return vectors, mask
