"""What `make bench` runs: rlbook and its peers side by side. Start with README.md."""
