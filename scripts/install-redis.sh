#!/bin/sh
# The redis-server of Debian or Ubuntu, on which the contract suite runs besides the embedded Valkey.
exec "$(dirname "$0")/apt-install.sh" redis-server redis-server "tests against redis-server will be skipped"
