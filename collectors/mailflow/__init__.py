"""Each message once: received, delivered, deferred, bounced, refused, and judged."""
