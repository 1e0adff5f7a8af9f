"""What the control room shows of a run: functions that read a run's folder, and write nothing."""
