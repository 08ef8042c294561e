"""Faces: tracking, the morphable model, segmentation, and the portrait that joins them."""
