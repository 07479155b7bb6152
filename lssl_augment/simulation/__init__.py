"""The statistical face model behind the built-in source faces."""
