# Make a backup, prove it, and delete what is superfluous. For the Task Scheduler, in the folder of
# stepwell.toml:  powershell -File backup.ps1 -Name night
# The variables KEEP, OLDER_THAN and STEPWELL are what the parameters are otherwise.
# Its exit status is the first one of stepwell that is not 0. Not tried on Windows yet.
param(
    [string]$Name = "night",
    [int]$Keep = $(if ($env:KEEP) { $env:KEEP } else { 7 }),
    [string]$OlderThan = $(if ($env:OLDER_THAN) { $env:OLDER_THAN } else { "30d" }),
    [string]$Stepwell = $(if ($env:STEPWELL) { $env:STEPWELL } else { "stepwell" })
)
# A program that is not there would otherwise leave no exit status behind, and 0 would be told.
$ErrorActionPreference = "Stop"
$stamp = (Get-Date).ToUniversalTime().ToString("yyyyMMdd'T'HHmmss'Z'")
$copy = "$Name-$stamp"

& $Stepwell backup create $copy
if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
& $Stepwell backup verify $copy
# 5: the copy is sound, and the doctor has findings in it.
if ($LASTEXITCODE -ne 0 -and $LASTEXITCODE -ne 5) { exit $LASTEXITCODE }
& $Stepwell backup prune --keep $Keep --older-than $OlderThan --delete
exit $LASTEXITCODE
