#!/usr/bin/env bash
# Runs a command; every line that it writes begins with the name that supervisord gave the process. (Workers do that themselves.) The command takes the place
# of this script, so that signals reach it and its process id is the one that supervisord knows.
exec > >(exec sed -u "s/^/$(printf '%-8s' "${SUPERVISOR_PROCESS_NAME:-$1}")| /") 2>&1
exec "$@"
