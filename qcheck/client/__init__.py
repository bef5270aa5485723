"""The only place with outgoing HTTP: transport, dialects, retries."""
