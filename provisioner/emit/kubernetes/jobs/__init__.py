"""What runs `provision` in a cluster: the mirror Job, the verify CronJob, and what they are made of."""
