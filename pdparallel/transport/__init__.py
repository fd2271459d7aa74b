"""Serialization of what processes send to each other: functions, data, tasks and outcomes."""
