"""What crosses to a worker, as bytes: functions, data, tasks and outcomes."""
