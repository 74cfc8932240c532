"""Reaching a goal with calls from a large catalogue of functions, found by retrieval."""
