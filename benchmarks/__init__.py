"""Every command against its peer in one run, as ratios: `python -m benchmarks`."""
