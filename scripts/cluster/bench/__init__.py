"""`scripts/bench`: speed and memory, as ratios to a plain baseline in the same run."""
