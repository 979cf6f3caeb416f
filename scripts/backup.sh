#!/bin/sh
# Make a backup, prove it, and delete what is superfluous. For cron:
#
#   17 3 * * * cd /srv/night && /path/to/backup.sh >> backup.log 2>&1
#
# KEEP and OLDER_THAN say what is kept; STEPWELL names the program, if it is not on the PATH.
# Its exit status is the first one of stepwell that is not 0.
set -eu
stepwell=${STEPWELL:-stepwell}
name="${1:-night}-$(date -u +%Y%m%dT%H%M%SZ)"

"$stepwell" backup create "$name"
# 5: the copy is sound, and the doctor has findings in it.
"$stepwell" backup verify "$name" || { status=$?; [ $status -eq 5 ] || exit $status; }
"$stepwell" backup prune --keep "${KEEP:-7}" --older-than "${OLDER_THAN:-30d}" --delete
