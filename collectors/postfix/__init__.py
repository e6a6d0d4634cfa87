"""The queues as they lie on disk."""
