"""Where results go: lines, files, brokers and commands."""
