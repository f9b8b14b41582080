"""What our shrinking is measured against: llama-quantize's types for any model, and plainer peers."""
