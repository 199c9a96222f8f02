"""The two hops with as little as they can be done with in FastAPI: no telemetry, no log line, no file, no validation.

It is no proposal but a measure: what robin adds to it is robin's cost.
"""
