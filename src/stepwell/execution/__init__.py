"""What did run: pure records and the pure functions over them. Nothing here does I/O."""
