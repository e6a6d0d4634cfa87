"""Room on every file system, and when it will be gone."""
