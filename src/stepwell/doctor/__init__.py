"""Is it all still true? Every package's invariants, examined, explained and mended."""
