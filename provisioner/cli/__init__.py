"""The `provision` command: options and exit codes. One file per command, loaded lazily."""
