"""What runs on the controller: command line, plan, payload, transport, sessions, fleet."""
