"""What a text does inside a model: statistics of activations from one streamed pass, resumable."""
