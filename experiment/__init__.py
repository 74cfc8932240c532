"""Experiments: policies compared on the live system, the way `llmsched compare` does in the simulator.

`config` says what is wanted, `plan` which jobs arrive when, `phase` runs them on a cluster, `conduct` puts phases after
each other, `store` keeps what came of them; `results`, `agreement`, `report` and `figures` say what it means.
docs/experiment.md tells the story.
"""
