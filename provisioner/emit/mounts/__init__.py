"""A release in somebody else's manifest: forms to copy from, and changes to the text of a file that is there."""
