"""Column functions of boostqa: pure numpy, pandas and Arrow code that needs no Spark session."""
