"""Benchmarks: each against its peer in one interleaved run, medians and ratios, never a test."""
