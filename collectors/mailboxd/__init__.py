"""What mailboxd counts of itself in zmstat's tables."""
