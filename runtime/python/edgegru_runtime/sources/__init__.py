"""Where samples come from: files, pipes, sockets, serial lines, brokers, sensors (docs/sources.md)."""
