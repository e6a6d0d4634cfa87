"""The daily mail report: a book that is kept page by page, and what is printed of it."""

COLLECTOR = "mailflow"
"""Who keeps the book."""
