"""What takes a built image into production and back: canary gate, record, which, rollback."""
