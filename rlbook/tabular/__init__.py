"""What algorithms with a table of values share."""
