"""Bytes over HTTP; knows neither the Hub nor a store."""
