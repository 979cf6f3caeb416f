@echo off
rem Make a backup, prove it, and delete what is superfluous, in the folder of stepwell.toml:
rem   backup.bat [NAME]
rem Not tried on Windows yet.
set NAME=%~1
if "%NAME%"=="" set NAME=night
powershell -NoProfile -ExecutionPolicy Bypass -File "%~dp0backup.ps1" -Name "%NAME%"
exit /b %ERRORLEVEL%
