"""Answering what-if questions about a supply chain: an LLM changes the model, a solver solves it, an LLM reports."""
