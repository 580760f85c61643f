"""A small real model server over HTTP, for the demonstration and for tests."""
