"""What LLMSched's policies are worth: against all others, without their ingredients, and how good their beliefs are."""
