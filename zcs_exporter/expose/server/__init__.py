"""A small HTTP/1.1 server: llhttp reads the requests, everything that has to do with time, size and order is here."""
