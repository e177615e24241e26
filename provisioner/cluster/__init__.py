"""The API server of a Kubernetes cluster. lightkube reads the kubeconfig and logs in, imported when it is used."""
