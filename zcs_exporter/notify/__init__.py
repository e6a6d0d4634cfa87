"""Notifications: from a transition to a target's acknowledgement, with nothing lost between."""
