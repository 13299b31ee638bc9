"""Holdfast: a reservation service that cannot oversell."""

__version__ = "0.1.0"
