"""A variant as data: spec, presets, protocol, spaces; and `compose`, the only place where names become classes."""
