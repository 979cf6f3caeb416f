"""Web: REST, metrics and the dashboard over one node; the core is called from threads."""
