#!/bin/sh
# Installs the redis-server of Debian or Ubuntu, on which the contract suite runs besides the embedded Valkey.
# Does nothing where it is installed, and only says so where apt-get is missing or not allowed.
set -eu

if command -v redis-server >/dev/null; then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "install-redis.sh: no apt-get here; tests against redis-server will be skipped" >&2
    exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
    if ! sudo -n true 2>/dev/null; then
        echo "install-redis.sh: needs root; run 'sudo $0', or those tests will be skipped" >&2
        exit 0
    fi
    exec sudo -n "$0"
fi

# The package would start a server on the default port; the tests start their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends redis-server
