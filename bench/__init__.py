"""Speed, as ratios within one run: the worker beside a plain Faust program with the same rules, on a real broker."""
