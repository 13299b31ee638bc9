"""PostgreSQL: connections, calls, migrations, and a server of our own."""
