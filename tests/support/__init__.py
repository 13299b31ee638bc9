"""What tests share: builders of requests, waits, processes, links, names of types."""
