"""Renderers: a portrait and coefficients in, frames out."""
