"""What several suites need: definitions, a driver for the machine, a gateway in a process of its own."""
