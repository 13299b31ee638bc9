"""Benchmarks: Holdfast beside its peers, on one machine, in turns. See README.md."""
