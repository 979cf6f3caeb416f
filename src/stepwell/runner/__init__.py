"""Makes a job into an execution: runs steps, chunks and partitions, one fact a transaction."""
