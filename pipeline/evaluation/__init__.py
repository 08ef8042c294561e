"""Measuring: how close generated clips come to real ones, and whether the product keeps its promises.

- `pictures`, `lips`, `distances`: the metrics, one function each, with definition and source.
- `tracks`: both clips are tracked again from their frames, so that the finished video is measured and not a
  driver's own word.
- `pairs`: generated clips against real ones (`python -m pipeline evaluate GENERATED REAL`).
- `suites`: the promises, measured on the corpus (`python -m pipeline evaluate --suite NAME`).
- `sheets`: contact sheets, for what no number shows.
"""
