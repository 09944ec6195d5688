"""How the platform gets on a server, and the rehearsal of it."""
