"""The whole path on real weights, with nothing outside this machine but the package index."""
