"""Take a built image into production and back: canary gate, release record, status, rollback."""
