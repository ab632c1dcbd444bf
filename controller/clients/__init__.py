"""One adapter for each outside system; only it imports its library and maps its errors."""
