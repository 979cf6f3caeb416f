# Prove a backup and put it in the place of the database:
#   powershell -File restore.ps1 -What NAME-OR-PATH -Reason "why"
# Stop what works on the database first. What is there is kept. The variable STEPWELL names the
# program, if it is not on the path. Not tried on Windows yet.
param(
    [Parameter(Mandatory = $true)][string]$What,
    [string]$Reason = "restore.ps1",
    [string]$Stepwell = $(if ($env:STEPWELL) { $env:STEPWELL } else { "stepwell" })
)
# A program that is not there would otherwise leave no exit status behind, and 0 would be told.
$ErrorActionPreference = "Stop"

& $Stepwell backup verify $What
# 5: the copy is sound, and the doctor has findings in it.
if ($LASTEXITCODE -ne 0 -and $LASTEXITCODE -ne 5) { exit $LASTEXITCODE }
& $Stepwell backup restore $What --reason $Reason
exit $LASTEXITCODE
