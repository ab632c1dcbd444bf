"""Ended builds: recorded, listed, and kept to an age."""
