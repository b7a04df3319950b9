r"""What makes the book: no notebook imports it."""
