"""From what programs say to a failure with a reason, a place and a hint."""
