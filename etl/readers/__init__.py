"""One file a format: heterogeneous corpora in, one record schema out."""
