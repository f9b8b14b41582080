"""What a schema or a grammar costs the engine, tried in a process that may end of it."""
