"""What a running robin leaves behind, as data: the contract beside the metrics, which stand in observability.signals.

`sources.py` says who sends, `attributes.py` what there may be to say, `spans.py`, `records.py` and `series.py` what is
stored of each; `expected.py` what one request must leave, made of them. `test_observability.py` holds single requests
against it, and the tests all that a stack has stored, in both directions: nothing is missing, nothing else is there.
"""
