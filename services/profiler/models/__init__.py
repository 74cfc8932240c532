"""Learning of profiles with libraries that no core may need: what can stand in for the core's own search and tables."""
