"""One file a step; none imports another. `etl.pipeline` puts them in order."""
