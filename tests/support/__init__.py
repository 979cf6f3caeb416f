"""What tests share: jobs to crash, and ways to look at what they left."""
