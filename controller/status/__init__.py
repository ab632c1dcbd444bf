"""What a build has come to: gathered from Nomad, the allocation and the history, and folded."""
