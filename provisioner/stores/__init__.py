"""Places that hold releases; one folder or file per backend, SDKs imported inside."""
