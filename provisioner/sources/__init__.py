"""Where locked bytes come from; one file per backend, SDKs imported inside."""
