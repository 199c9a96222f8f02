"""Who sends a request: its credential, the user behind it, and whether that user is let in."""
