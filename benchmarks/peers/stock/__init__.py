"""The two services as the tutorials of FastAPI, SQLAlchemy and OpenTelemetry write them: no tuning, and no sabotage.

It keeps less than robin does: bytes are written but not synced or hashed, and the summary is the first characters.
"""
