"""An older program's ``state.json``: read, recorded once, and retired."""
