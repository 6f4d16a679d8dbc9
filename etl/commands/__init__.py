"""The commands of the command line, one file each: `add` declares the arguments, `run` does the work and returns the exit code."""
