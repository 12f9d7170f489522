"""Rules that need nothing but Python: no Flask, no database, no clock, no network."""
