"""Release built images to production: canary gate, release record, status, rollback."""
