#!/bin/sh
# Installs a package of Debian or Ubuntu, if its program is not there yet:
#
#   scripts/apt-install.sh PROGRAM PACKAGE WITHOUT
#
# Does nothing where the program is installed, and only says what will be missing (WITHOUT) where apt-get is missing or
# not allowed.
set -eu

program=$1 package=$2 without=$3
if command -v "$program" >/dev/null; then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "$package: no apt-get here; $without" >&2
    exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
    if ! sudo -n true 2>/dev/null; then
        echo "$package: needs root; install it, or $without" >&2
        exit 0
    fi
    exec sudo -n "$0" "$@"
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
apt-get install -y -qq --no-install-recommends "$package"
