"""A rehearsal of the deployment on one Linux machine: a clean Debian that boots systemd, and the world outside it."""
