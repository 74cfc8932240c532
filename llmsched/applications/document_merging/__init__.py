"""Merging documents with an LLM, as in Graph of Thoughts: drafts, scores, the best ones aggregated, improved."""
