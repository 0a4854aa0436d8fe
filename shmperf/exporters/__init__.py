"""Kept calls in other programs' formats: a file a format, and the table that names them."""
