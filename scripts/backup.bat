@echo off
rem Make a backup, prove it, and delete what is superfluous, in the folder of stepwell.toml:
rem   backup.bat [NAME]
rem The variables KEEP and OLDER_THAN say what is kept; STEPWELL names the program.
rem Not tried on Windows yet.
setlocal
set "NAME=%~1"
if "%NAME%"=="" set "NAME=night"
powershell -NoProfile -ExecutionPolicy Bypass -File "%~dp0backup.ps1" -Name "%NAME%"
exit /b %ERRORLEVEL%
