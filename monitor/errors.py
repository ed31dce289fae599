"""Exceptions of the monitor.

MonitorError        the message says what to do; the command line prints it and exits with 1
├── ConfigError     monitor.toml cannot be used
├── QueryError      DuckDB rejects a query, or a file that it reads
├── FeedbackError   a file of feedback has a value that the schema does not allow
├── NoRows          a snapshot would have no rows to train on, or none to hold out
├── AlertsError     a Prometheus server does not say which alerts are firing
└── TrainingRefused the rules of retraining allow no training now
"""


class MonitorError(Exception):
    """Base class of the monitor's exceptions."""


class ConfigError(MonitorError):
    """`monitor.toml` cannot be used."""


class QueryError(MonitorError):
    """DuckDB rejects a query, or a file that it reads."""


class FeedbackError(MonitorError):
    """A file of feedback has a value that the schema does not allow."""


class NoRows(MonitorError):
    """A snapshot would have no rows to train on, or none to hold out."""


class AlertsError(MonitorError):
    """A Prometheus server does not say which alerts are firing."""


class TrainingRefused(MonitorError):
    """The rules of retraining allow no training now."""
