"""Tables, steps and the command line of boostqa."""
