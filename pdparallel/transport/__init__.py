"""Transport: everything that crosses an engine, as bytes: functions, data, tasks and outcomes."""
