"""Writing code with an LLM: draft, test, mend, until the tests pass."""
