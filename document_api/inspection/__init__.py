"""Reads what is kept of requests, for operators: one request's story, the latest requests, the last hour."""
