"""The whole system with Docker Compose: chosen, started, watched. Needs no package beyond Python's own."""
