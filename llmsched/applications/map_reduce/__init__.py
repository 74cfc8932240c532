"""Summarising long texts: parts in parallel, then summaries of summaries until one fits."""
