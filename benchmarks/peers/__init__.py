"""Programs that one side of a comparison runs, each in an environment of its own, and what they say to each other."""
