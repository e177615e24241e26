"""From a release and settings to text for its consumers. Pure."""
