"""HTTP: OpenAI, Anthropic and Ollama over the models of this machine, by the owner's settings."""
