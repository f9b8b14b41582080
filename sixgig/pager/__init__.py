"""The paged experts: configuration, counters, routing traces and the policies' simulator."""
