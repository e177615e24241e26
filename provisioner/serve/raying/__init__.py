"""What `provisioner.serve.ray` is made of: the deployments, how they grow, and the backend that asks them."""
