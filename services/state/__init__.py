"""The durable state that the services share: what is kept (`records`), how it is asked for (`port`), where it is kept
(`memory`, `redis_store`).

One package for all services, because one job is one thing: the planner writes its intake, the scheduler its
progress, and both must agree on keys and formats to the letter.
"""
