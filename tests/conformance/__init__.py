"""One suite for every store (T9): what takes `node` runs on each of them."""
