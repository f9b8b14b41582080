"""A request from its arrival to its line in the ledger: queue, who answers, what it took."""
