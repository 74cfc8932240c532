"""Plumbing that knows no business word: settings, clocks, gRPC servers, errors on the wire, logs, telemetry."""
