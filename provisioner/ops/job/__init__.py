"""The mirror Job in a cluster: applied, followed, and its trouble named."""
