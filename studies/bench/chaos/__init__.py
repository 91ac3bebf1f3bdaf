"""`bench chaos`: workers of several "machines" on one PostgreSQL while things go wrong, and what a trial costs while none does."""
