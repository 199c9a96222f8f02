"""Credentials: what users show to say who they are, and who that is."""
