"""Reports: consumers of a finished boot. They change nothing and book nothing."""
