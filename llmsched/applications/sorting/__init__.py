"""Sorting numbers with an LLM, as in Graph of Thoughts: split, sort the parts, score, keep the best, merge."""
