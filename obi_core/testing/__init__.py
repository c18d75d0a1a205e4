"""The public test kit: fakes, the contract suite, a pytest plugin. Nothing in the core imports it."""
