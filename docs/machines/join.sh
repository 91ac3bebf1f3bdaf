#!/bin/sh
# Starts a worker of a study on each machine that is named, over ssh:
#
#   ABLATION_STORAGE=postgresql+psycopg://USER:PASSWORD@HOST/DATABASE sh join.sh NAME machine1 machine2
#
# The suite is installed in ~/ablation on each, or in $ABLATION_HOME. The storage goes through ssh's standard input, so that no
# process list shows its password.
set -eu
study=$1
shift
for machine in "$@"; do
    printf '%s\n' "$ABLATION_STORAGE" | ssh "$machine" "
        read -r ABLATION_STORAGE
        export ABLATION_STORAGE
        cd ${ABLATION_HOME:-ablation} || exit
        nohup .venv/bin/ablation worker --study '$study' > worker.log 2>&1 < /dev/null &
    "
    echo "$machine: started; what it prints is in worker.log there"
done
