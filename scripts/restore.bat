@echo off
rem Prove a backup and put it in the place of the database:
rem   restore.bat NAME-OR-PATH
rem Stop what works on the database first. What is there is kept. Not tried on Windows yet.
if "%~1"=="" (
  echo usage: restore.bat NAME-OR-PATH
  exit /b 2
)
powershell -NoProfile -ExecutionPolicy Bypass -File "%~dp0restore.ps1" -What "%~1"
exit /b %ERRORLEVEL%
