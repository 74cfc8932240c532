"""ReAct: a model thinks, searches or calculates, reads what came of it, and goes on until it knows the answer."""
