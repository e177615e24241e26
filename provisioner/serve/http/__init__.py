"""The HTTP APIs: ours, OpenAI's, Text Embeddings Inference's and Onyx's, with limits, probes, logs and metrics."""
