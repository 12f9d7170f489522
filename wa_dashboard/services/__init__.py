"""The verbs: each module one deep noun, which alone opens transactions."""
