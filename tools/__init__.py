"""Tools for those who work on ringfs: exerciser, benchmark jobs, demo. Run as files; nothing of ringfs imports them."""
