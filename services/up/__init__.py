"""One machine, everything on it: starts the services as separate processes, watches over them, shows what they do."""

import os

# Children are started while a client is open. They never use gRPC before they are programs of their own, so its
# handlers around fork would only complain. Read when gRPC is imported, hence here.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
