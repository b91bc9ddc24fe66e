"""How long things take, on the machine at hand: python -m benchmarks.<name>."""
