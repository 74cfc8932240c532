"""Measures how fast an engine is at each batch size: `llmsched calibrate` (docs/calibration.md)."""
