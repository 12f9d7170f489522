"""Benchmarks: ratios against a baseline measured in the same run (`python3 app.py bench`, docs/benchmarks.md)."""
