"""The rim of jobs: a wake-up comes in, a verb is called."""
