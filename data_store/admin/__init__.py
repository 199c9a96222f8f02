"""The admin command line: clients, users and API keys, as the owner of the tables."""
