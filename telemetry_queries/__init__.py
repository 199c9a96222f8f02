"""Reads what Jaeger, Prometheus and the log store keep. Used by the document API and by test_observability.py."""
