"""What the host learns from the requests that it sees, and tells a device of the ranked policy (R40): classes, orders, tables."""
