"""Stepwell against bare programs that do the same durable work by hand, in the same run."""
