"""Loading one model with the library that will serve it; runs in a process of its own, offline."""
