"""Domains: one module each, with its bodies, statements and thin handlers."""
