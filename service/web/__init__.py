"""HTTP: what every route shares, and nothing of any domain."""
