# Make a backup, prove it, and delete what is superfluous. For the Task Scheduler, in the folder of
# stepwell.toml:  powershell -File backup.ps1 -Name night
# Its exit status is the first one of stepwell that is not 0. Not tried on Windows yet.
param(
    [string]$Name = "night",
    [int]$Keep = 7,
    [string]$OlderThan = "30d",
    [string]$Stepwell = "stepwell"
)
$stamp = (Get-Date).ToUniversalTime().ToString("yyyyMMdd'T'HHmmss'Z'")
$copy = "$Name-$stamp"

& $Stepwell backup create $copy
if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
& $Stepwell backup verify $copy
# 5: the copy is sound, and the doctor has findings in it.
if ($LASTEXITCODE -ne 0 -and $LASTEXITCODE -ne 5) { exit $LASTEXITCODE }
& $Stepwell backup prune --keep $Keep --older-than $OlderThan --delete
exit $LASTEXITCODE
