@echo off
rem Prove a backup and put it in the place of the database:
rem   restore.bat NAME-OR-PATH [REASON]
rem Stop what works on the database first. What is there is kept. STEPWELL names the program.
rem Not tried on Windows yet.
setlocal
if "%~1"=="" (
  echo usage: restore.bat NAME-OR-PATH [REASON] 1>&2
  exit /b 2
)
set "REASON=%~2"
if "%REASON%"=="" set "REASON=restore.bat"
powershell -NoProfile -ExecutionPolicy Bypass -File "%~dp0restore.ps1" -What "%~1" -Reason "%REASON%"
exit /b %ERRORLEVEL%
