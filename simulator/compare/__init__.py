"""Policies compared on the same workloads: runs, statistics, files and a report."""
