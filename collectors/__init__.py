"""One module per thing watched; ``BUILTIN`` lists their classes."""
