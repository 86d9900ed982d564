#!/usr/bin/env bash
# Runs a node of masterfree.cluster.toml: masterfree.sh ROLE ID. The first of all makes the key of the cluster. The node takes the place of this script, so that
# the process id that is left in masterfree-data/ID.pid is the node's.
set -e
cd "$(dirname "$0")"
umask 077
mkdir -p masterfree-data
key=masterfree-data/cluster.key
if [ ! -e "$key" ]; then
    head -c 32 /dev/urandom | base64 > "$key.$$"
    # Of several at once, one wins.
    ln "$key.$$" "$key" 2> /dev/null || true
    rm "$key.$$"
fi
echo $$ > "masterfree-data/$2.pid"
exec ./prefix.sh cargo run --release --quiet --bin fennec -- "$1" --id "$2" --cluster masterfree.cluster.toml --config masterfree.toml
