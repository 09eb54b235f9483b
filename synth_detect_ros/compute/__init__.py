"""Where work runs: processes on cores of their own."""
