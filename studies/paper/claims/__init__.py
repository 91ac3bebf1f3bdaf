"""Claims and verdicts: what a paper says, the rule that would settle it, and what stored trials say. No torch here."""
