"""The only place that prints: results on stdout, progress and failures on stderr."""
