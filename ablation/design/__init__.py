"""A variant as data: spec, presets, protocol, variants, spaces; and `compose`, which makes a module of a spec."""
