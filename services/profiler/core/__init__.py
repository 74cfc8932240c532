"""What is learned of applications, and what is believed of jobs: pure, no I/O, no clock."""
