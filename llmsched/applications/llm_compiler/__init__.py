"""LLMCompiler: a model plans calls that run in parallel, another reads what they gave and may ask for a second plan."""
