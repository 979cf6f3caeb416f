"""The operator's pages: what waits, who holds what, what is wrong, how far other nodes are."""
