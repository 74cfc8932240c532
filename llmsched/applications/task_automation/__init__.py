"""An LLM plans which tools to call for a request; the tools then run as the plan says."""
