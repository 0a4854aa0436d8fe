"""What calls mean: totals, trees, limits, groups of errors; pure, no clock and no file."""
