#!/bin/sh
# Prometheus of Debian or Ubuntu: its promtool tries the alerts, and it answers the dashboards' questions in tests.
exec "$(dirname "$0")/apt-install.sh" prometheus prometheus "tests of dashboards and alerts will be skipped"
