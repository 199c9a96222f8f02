"""Checks of a running robin: sends requests, then looks for what they must have left in traces, metrics and logs.

`python test_observability.py` is the way in. `checks/` has one module for each question, `backends/` one client for
each server that is asked, `contract/` all that there may and must be as data, `matching.py` and `counters.py` the
comparisons (pure), `story.py` joins the three back ends for one correlation ID.
"""
