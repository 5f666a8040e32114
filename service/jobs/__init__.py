"""Background jobs: builds that nobody reads yet, and the callbacks that tell when they are done."""
