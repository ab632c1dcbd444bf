"""Log lines: from files on nodes to answers and streams."""
