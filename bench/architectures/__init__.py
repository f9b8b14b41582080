"""Every architecture of the engine, tried: its own tiny models, and mixtures made of their headers."""
