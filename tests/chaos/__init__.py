"""Load on a stack, faults in its servers, and what a user saw of them."""
