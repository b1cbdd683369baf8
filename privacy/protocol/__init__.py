"""The wire protocol: limits, messages, codec and session state machines, all without I/O."""
