#!/usr/bin/env bash
# Runs a command; every line that it writes begins with the name that supervisord gave the process, once. The command takes the place of this script, so
# that signals reach it and its process id is the one that supervisord knows.
name="${SUPERVISOR_PROCESS_NAME:-$1}"
exec > >(exec sed -u -E "s/^($name *\| )?/$(printf '%-8s' "$name")| /") 2>&1
if ! command -v -- "$1" > /dev/null; then
  [ "$1" != cargo ] || hint=': install Rust 1.95 or later, see https://rustup.rs, and start this again from a new shell'
  echo "there is no $1${hint:-}"
  exit 127
fi
exec "$@"
