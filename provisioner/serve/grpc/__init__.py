"""The model server over gRPC, beside HTTP. Needs the extra `grpc`; `server.start` says so where it is missing."""
