"""Clients of the servers that keep robin's telemetry."""
