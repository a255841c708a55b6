"""Parts shared by the tabular algorithms: training loops, value tables, dynamic programming."""
