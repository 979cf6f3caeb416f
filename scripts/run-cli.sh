#!/bin/sh
# The verbs of the people who carry changes, in the folder of a node:
#
#   run-cli.sh migrate                          the application's tables
#   run-cli.sh seed role=shop store=1           its first rows
#   run-cli.sh export-change-log FILE [--client NAME] [--since LSN]
#   run-cli.sh import-change-log FILE [--dry-run]
#   run-cli.sh push FILE                        what the main lacks, into FILE
#   run-cli.sh pull FILE                        what the main has exported, out of FILE
#
# NODE names the settings (NODE=shop-1 takes shop-1.toml), else stepwell.toml; STEPWELL the program,
# if it is not on the PATH. Its exit status is that of stepwell: 3 says that something waits.
set -eu
stepwell=${STEPWELL:-stepwell}
STEPWELL_CONFIG=${NODE:+$NODE.toml}
STEPWELL_CONFIG=${STEPWELL_CONFIG:-stepwell.toml}
export STEPWELL_CONFIG
verb=${1:-help}
[ $# -eq 0 ] || shift

need_file() {
    [ $# -gt 0 ] || { echo "$verb needs a file: run-cli.sh $verb FILE" >&2; exit 2; }
}

case $verb in
    migrate | seed) exec "$stepwell" run "$verb" "$@" ;;
    export-change-log) need_file "$@"; file=$1; shift; exec "$stepwell" sync export --to "$file" "$@" ;;
    import-change-log) need_file "$@"; exec "$stepwell" sync import "$@" ;;
    push | pull) need_file "$@"; file=$1; shift; exec "$stepwell" sync "$verb" --file "$file" "$@" ;;
    *)
        echo "run-cli.sh migrate | seed | export-change-log | import-change-log | push | pull" >&2
        exit 2
        ;;
esac
