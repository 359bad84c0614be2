"""Weights fitted to judgments."""
