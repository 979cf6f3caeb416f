"""What shall run: values and plain functions that the user writes. Nothing here does I/O."""
