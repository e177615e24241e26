"""The contract, `serve.proto`, and the Python code that the build makes of it: `serve_pb2`, `serve_pb2_grpc`."""
