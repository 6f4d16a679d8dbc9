"""Steps on a data set of any format without a pipeline: every row comes out, with a verdict beside it."""
