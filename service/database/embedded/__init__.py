"""PostgreSQL with no set-up: a server of our own, run as a child of the service."""
