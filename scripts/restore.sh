#!/bin/sh
# Prove a backup and put it in the place of the database:
#
#   restore.sh NAME-OR-PATH [REASON]
#
# Stop what works on the database first. What is there is kept. STEPWELL names the program.
set -eu
stepwell=${STEPWELL:-stepwell}
what=${1:?"usage: restore.sh NAME-OR-PATH [REASON]"}

# 5: the copy is sound, and the doctor has findings in it.
"$stepwell" backup verify "$what" || { status=$?; [ $status -eq 5 ] || exit $status; }
"$stepwell" backup restore "$what" --reason "${2:-restore.sh}"
