# A node's evening: take the main's file, then write what the main lacks. For the Task Scheduler:
#   powershell -File push_pull.ps1 -Config shop-1.toml -Pull in\main.jsonl.gz -Push out\shop-1.jsonl.gz
# Either may be left out. The main's changes come first, so that conflicts are decided here, too.
# Its exit status is the first one of stepwell that is not 0; 3, something waits in quarantine, does
# not keep the push from being written. Not tried on Windows yet.
param(
    [string]$Pull = "",
    [string]$Push = "",
    [string]$Config = $(if ($env:STEPWELL_CONFIG) { $env:STEPWELL_CONFIG } else { "stepwell.toml" }),
    [string]$Stepwell = $(if ($env:STEPWELL) { $env:STEPWELL } else { "stepwell" })
)
# A program that is not there would otherwise leave no exit status behind, and 0 would be told.
$ErrorActionPreference = "Stop"
if (-not $Pull -and -not $Push) {
    [Console]::Error.WriteLine("push_pull.ps1 needs -Pull FILE, -Push FILE, or both")
    exit 2
}
$told = 0
if ($Pull) {
    & $Stepwell --config $Config sync pull --file $Pull
    $told = $LASTEXITCODE
    if ($told -ne 0 -and $told -ne 3) { exit $told }
}
if ($Push) {
    & $Stepwell --config $Config sync push --file $Push
    if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
}
exit $told
