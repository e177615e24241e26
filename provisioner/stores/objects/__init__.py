"""Stores in buckets: S3 and whatever speaks its protocol."""
