"""One machine, everything on it: starts the services as separate processes, watches over them, shows what they do."""
