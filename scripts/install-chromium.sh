#!/bin/sh
# The Chromium of Debian, in which a test looks at a trace in Phoenix and scripts/phoenix_screenshot.py takes its picture.
exec "$(dirname "$0")/apt-install.sh" chromium chromium "Phoenix's page will not be looked at"
